import Glibc
import MigrationStream
import Testing

struct DescriptorTests {
  @Test(arguments: [DomainKind.pv, .hvm])
  func streamThroughAFileIsTheStreamInMemory(kind: DomainKind) throws {
    let file = try #require(tmpfile())
    defer { fclose(file) }
    var writer = StreamWriter(DescriptorSink(fileno(file)))
    try writeGuest(kind, to: &writer)
    var inMemory = StreamWriter(MemorySink())
    try writeGuest(kind, to: &inMemory)

    let expected = inMemory.sink.bytes
    #expect(lseek(fileno(file), 0, SEEK_END) == off_t(expected.count))
    lseek(fileno(file), 0, SEEK_SET)
    var got = [UInt8](repeating: 0, count: expected.count + 1)
    var source = DescriptorSource(fileno(file))
    let count = try got.withUnsafeMutableBytes { try source.read(into: $0) }
    #expect(count == expected.count)
    #expect(Array(got[..<count]) == expected)
  }

  @Test func pipeSmallerThanAPageBatch() async throws {
    var ends: [Int32] = [0, 0]
    #expect(pipe(&ends) == 0)
    let (reading, writing) = (ends[0], ends[1])
    // The pipe holds 64 KiB and a batch 4 MiB: both sides see partial transfers.
    let sender = Task.detached {
      defer { close(writing) }
      var writer = StreamWriter(DescriptorSink(writing))
      try writeGuest(.pv, to: &writer)
    }
    defer { close(reading) }
    var reader = StreamReader(DescriptorSource(reading))
    var pages = 0
    while let event = try reader.next() {
      if case .pageData(let batch) = event {
        batch.forEachEntry { entry, bytes in pages += bytes == nil ? 0 : 1 }
      }
    }
    try await sender.value
    #expect(pages == sampleBatches(.pv).joined().count { $0.type.carriesData })
  }

  @Test func readerThatIsGoneIsAnErrorAndNoSignal() throws {
    var ends: [Int32] = [0, 0]
    #expect(pipe(&ends) == 0)
    close(ends[0])
    defer { close(ends[1]) }
    var sink = DescriptorSink(ends[1])
    // Held back first, so that the flush is what notices.
    try [1, 2, 3].withUnsafeBytes { try sink.write($0) }
    var failure: StreamError?
    do throws(StreamError) { try sink.flush() } catch { failure = error }
    #expect(failure == .receiverGone)
    var pending = sigset_t()
    sigpending(&pending)
    #expect(sigismember(&pending, SIGPIPE) == 0)
  }

  @Test func errorsOfTheDescriptorCarryErrno() throws {
    let full = open("/dev/full", O_WRONLY)
    defer { close(full) }
    var sink = DescriptorSink(full)
    var failure: StreamError?
    try [UInt8](repeating: 0, count: 100).withUnsafeBytes { try sink.write($0) }
    do throws(StreamError) { try sink.flush() } catch { failure = error }
    #expect(failure == .writeFailed(errno: ENOSPC))

    var reader = StreamReader(DescriptorSource(-1))
    failure = nil
    do throws(StreamError) { _ = try reader.next() } catch { failure = error }
    #expect(failure == .readFailed(errno: EBADF))
  }
}
