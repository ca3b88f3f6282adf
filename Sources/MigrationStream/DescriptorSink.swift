import Glibc

/// Writes to a blocking descriptor that the caller owns and closes: a file, or the pipe to `xl restore`.
///
/// Small writes are gathered in 64 KiB; a large one goes out from the caller's memory, together with what was gathered,
/// in one `writev`. A reader that is gone is `StreamError.receiverGone`, never a SIGPIPE that ends the process.
public struct DescriptorSink: ByteSink, ~Copyable {
  private let descriptor: Int32
  private let shouldStop: () -> Bool
  private var gathered: [UInt8] = []
  private static let capacity = 64 << 10

  /// - Parameter shouldStop: asked when a signal breaks off a write that waits for the reader; true ends it with EINTR.
  public init(_ descriptor: Int32, shouldStop: @escaping () -> Bool = { false }) {
    (self.descriptor, self.shouldStop) = (descriptor, shouldStop)
    gathered.reserveCapacity(Self.capacity)
  }

  public mutating func write(_ bytes: UnsafeRawBufferPointer) throws(StreamError) {
    guard gathered.count + bytes.count > Self.capacity else {
      gathered.append(contentsOf: bytes)
      return
    }
    try drain(then: bytes)
  }

  public mutating func flush() throws(StreamError) {
    if !gathered.isEmpty { try drain(then: UnsafeRawBufferPointer(start: nil, count: 0)) }
  }

  private mutating func drain(then bytes: UnsafeRawBufferPointer) throws(StreamError) {
    let failure = gathered.withUnsafeBytes { head in
      withoutSIGPIPE { Self.writeAll(descriptor, head, bytes, shouldStop) }
    }
    gathered.removeAll(keepingCapacity: true)
    if let failure { throw failure }
  }

  private static func writeAll(
    _ descriptor: Int32, _ head: UnsafeRawBufferPointer, _ tail: UnsafeRawBufferPointer, _ shouldStop: () -> Bool
  ) -> StreamError? {
    let total = head.count + tail.count
    var done = 0
    while done < total {
      let headDone = min(done, head.count)
      let parts = [
        part(of: head, from: headDone),
        part(of: tail, from: done - headDone),
      ]
      let count = writev(descriptor, parts, Int32(parts.count))
      if count > 0 {
        done += count
        // A signal ends a write to a full pipe with what went in before.
        if done < total, shouldStop() { return .writeFailed(errno: EINTR) }
      } else if count == 0 {
        return .writeFailed(errno: 0)
      } else if errno == EPIPE {
        return .receiverGone
      } else if errno != EINTR {
        return .writeFailed(errno: errno)
      } else if shouldStop() {
        return .writeFailed(errno: EINTR)
      }
    }
    return nil
  }

  private static func part(of bytes: UnsafeRawBufferPointer, from start: Int) -> iovec {
    let rest = UnsafeRawBufferPointer(rebasing: bytes[start...])
    return iovec(iov_base: UnsafeMutableRawPointer(mutating: rest.baseAddress), iov_len: rest.count)
  }
}

/// A pipe has no MSG_NOSIGNAL, and a library must not change the process's signal dispositions: block SIGPIPE for this
/// thread, and take back the one that our own write raised.
private func withoutSIGPIPE(_ body: () -> StreamError?) -> StreamError? {
  var pipeSignal = sigset_t()
  var before = sigset_t()
  var pending = sigset_t()
  sigemptyset(&pipeSignal)
  sigaddset(&pipeSignal, SIGPIPE)
  sigpending(&pending)
  let wasPending = sigismember(&pending, SIGPIPE) == 1
  pthread_sigmask(SIG_BLOCK, &pipeSignal, &before)
  let failure = body()
  if failure == .receiverGone, !wasPending {
    var now = timespec()
    while sigtimedwait(&pipeSignal, nil, &now) == -1 && errno == EINTR {}
  }
  pthread_sigmask(SIG_SETMASK, &before, nil)
  return failure
}

/// Reads from a blocking descriptor that the caller owns and closes. Takes not one byte more than it is asked for.
public struct DescriptorSource: ByteSource, ~Copyable {
  private let descriptor: Int32
  private let mayRead: () -> Bool

  /// - Parameter mayRead: asked before each read, and may wait; false is as the end of the file.
  public init(_ descriptor: Int32, mayRead: @escaping () -> Bool = { true }) {
    (self.descriptor, self.mayRead) = (descriptor, mayRead)
  }

  public mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws(StreamError) -> Int {
    var done = 0
    while done < buffer.count, mayRead() {
      let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
      let count = Glibc.read(descriptor, rest.baseAddress, rest.count)
      if count == 0 { break }
      if count > 0 {
        done += count
      } else if errno != EINTR {
        throw .readFailed(errno: errno)
      }
    }
    return done
  }
}
