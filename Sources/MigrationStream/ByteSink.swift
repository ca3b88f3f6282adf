/// Where a stream goes.
public protocol ByteSink: ~Copyable {
  /// Takes all of `bytes`, or throws. The memory belongs to the caller again when the call returns.
  mutating func write(_ bytes: UnsafeRawBufferPointer) throws(StreamError)
  /// Hands on whatever the sink still holds back.
  mutating func flush() throws(StreamError)
}

/// Where a stream comes from.
public protocol ByteSource: ~Copyable {
  /// Fills `buffer` and returns its count; a smaller number means that the source ended.
  mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws(StreamError) -> Int
}

/// Keeps everything in memory, for tests and for small streams.
public struct MemorySink: ByteSink {
  public private(set) var bytes: [UInt8] = []

  public init() {}

  public mutating func write(_ bytes: UnsafeRawBufferPointer) { self.bytes.append(contentsOf: bytes) }
  public mutating func flush() {}
}

public struct MemorySource: ByteSource {
  private var rest: ArraySlice<UInt8>

  public init(_ bytes: [UInt8]) { rest = bytes[...] }

  public mutating func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
    let part = rest.prefix(buffer.count)
    buffer.copyBytes(from: part)
    rest = rest.dropFirst(part.count)
    return part.count
  }
}
