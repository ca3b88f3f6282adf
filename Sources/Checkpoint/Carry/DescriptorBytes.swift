import Glibc
import MigrationStream

/// A descriptor that bundles are written to; for closures, which cannot hold a sink themselves. It ends early when it is told to, by a
/// signal that breaks off a write.
final class DescriptorOutput {
  private var sink: DescriptorSink
  init(_ descriptor: Int32, _ cancellation: TakeCancellation) {
    sink = DescriptorSink(descriptor) { cancellation.isCancelled }
  }
  func write(_ bytes: UnsafeRawBufferPointer) throws { try sink.write(bytes) }
  func flush() throws { try sink.flush() }
}

/// A descriptor that bundles are read from, with what was read of it already.
final class DescriptorInput {
  private var source: PrefixedSource
  init(_ start: [UInt8], _ descriptor: Int32, _ cancellation: TakeCancellation) {
    source = PrefixedSource(start, descriptor, cancellation)
  }
  func read(_ buffer: UnsafeMutableRawBufferPointer) throws -> Int { try source.read(into: buffer) }
}

/// Bytes that were read to find out what they are, and then the rest. It ends early when it is told to, also while a pipe brings nothing.
struct PrefixedSource: ByteSource, ~Copyable {
  private var start: MemorySource
  private var rest: DescriptorSource

  init(_ start: [UInt8], _ descriptor: Int32, _ cancellation: TakeCancellation) {
    self.start = MemorySource(start)
    rest = DescriptorSource(descriptor) { Self.awaitBytes(descriptor, cancellation) }
  }

  mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws(StreamError) -> Int {
    let done = start.read(into: buffer)
    return try done + rest.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[done...]))
  }

  /// - Returns: false when it is told to end.
  private static func awaitBytes(_ descriptor: Int32, _ cancellation: TakeCancellation) -> Bool {
    while !cancellation.isCancelled {
      var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      let count = poll(&waiting, 1, 100)
      // What is wrong with the descriptor is told by the read.
      if count > 0 || (count < 0 && errno != EINTR) { return true }
    }
    return false
  }
}
