import MigrationStream

/// A descriptor that bundles are written to; for closures, which cannot hold a sink themselves.
final class DescriptorOutput {
  private var sink: DescriptorSink
  init(_ descriptor: Int32) { sink = DescriptorSink(descriptor) }
  func write(_ bytes: UnsafeRawBufferPointer) throws { try sink.write(bytes) }
  func flush() throws { try sink.flush() }
}

/// A descriptor that bundles are read from, with what was read of it already.
final class DescriptorInput {
  private var source: PrefixedSource
  init(_ start: [UInt8], _ descriptor: Int32) { source = PrefixedSource(start, descriptor) }
  func read(_ buffer: UnsafeMutableRawBufferPointer) throws -> Int { try source.read(into: buffer) }
}

/// Bytes that were read to find out what they are, and then the rest.
struct PrefixedSource: ByteSource, ~Copyable {
  private var start: MemorySource
  private var rest: DescriptorSource

  init(_ start: [UInt8], _ descriptor: Int32) {
    self.start = MemorySource(start)
    rest = DescriptorSource(descriptor)
  }

  mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws(StreamError) -> Int {
    let count = start.read(into: buffer)
    guard count < buffer.count else { return count }
    return count + (try rest.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[count...])))
  }
}
