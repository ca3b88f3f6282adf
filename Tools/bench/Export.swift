import ArgumentParser
import CLZ4
import Checkpoint
import EpochStore
import Glibc
import MigrationStream

/// An epoch as the stream that `xl restore` reads, through a pipe, against the limit: the same decompressed bytes through a pipe, and LZ4's
/// decoder over the same pages. No Xen, no root.
struct Export: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Export an epoch to a pipe and compare with plain writes and plain LZ4.")

  @Option(help: "Folder of the store.") var dir = "/dev/shm"
  @Option(help: "MiB of memory.") var size = 512
  @Option(help: "Threads of the decoder alone.") var threads = 2
  @Option(help: "Runs of each; the best counts.") var runs = 7

  func run() throws {
    let image = MemoryImage(bytes: size << 20)
    let store = try BenchStore(dir, "export")
    let writer = try store.folder.create(epoch: 1, reserving: 0)
    for (type, body) in Self.records { try writer.append(record: type, body) }
    _ = try writer.append(image.staged, threads: threads)
    _ = try writer.publish(BenchStore.manifest(epoch: 1, memoryBytes: size << 20))
    let plain = PlainLZ4(image).compressed()

    var (export, pipe, decode) = (Double.infinity, Double.infinity, Double.infinity)
    for _ in 0..<runs {
      let stream = try EpochStream(store.folder.open(epoch: 1))
      export = try min(
        export,
        Self.throughPipe { descriptor in
          var writer = StreamWriter(DescriptorSink(descriptor))
          try stream.write(to: &writer)
        })
      pipe = try min(pipe, Self.throughPipe { write(all: image.bytes, to: $0) })
      decode = min(decode, cost { plain.decode(threads: threads) }.wall)
    }
    print("size_mib=\(size) threads=\(threads) runs=\(runs)")
    print("export_s=\(figure(export)) pipe_s=\(figure(pipe)) lz4_decode_s=\(figure(decode))")
    print("ratio export/limit=\(figure((pipe + decode) / export)) (bar 0.800)")
  }

  /// Seconds until another process, `cat`, has read all that `body` writes.
  private static func throughPipe(_ body: (Int32) throws -> Void) throws -> Double {
    guard let cat = popen("cat >/dev/null", "w") else { throw ValidationError("cannot run cat") }
    let start = ContinuousClock.now
    do { try body(fileno(cat)) } catch {
      pclose(cat)
      throw error
    }
    pclose(cat)
    return (ContinuousClock.now - start).milliseconds / 1000
  }

  /// As `cat` writes: 128 KiB at a time.
  private func write(all bytes: UnsafeMutableRawBufferPointer, to descriptor: Int32) {
    var done = 0
    while done < bytes.count {
      let count = Glibc.write(descriptor, bytes.baseAddress! + done, min(128 << 10, bytes.count - done))
      guard count > 0 else { return }
      done += count
    }
  }

  /// What a PVH guest's stream cannot do without.
  private static var records: [(type: UInt32, body: [UInt8])] {
    let config = """
      {"c_info": {"type": "pvh", "name": "bench", "uuid": "\(BenchStore.uuid)"},
       "b_info": {"max_vcpus": 1, "target_memkb": 4, "max_memkb": 4}}
      """
    let state: [RecordBody] = [
      .tscInfo(TSCInfo(mode: 0, kilohertz: 1_000_000, nanoseconds: 0, incarnation: 0)),
      .hvmContext([UInt8](repeating: 1, count: 4096)), .hvmParams([HVMParam(index: 1, value: 1)]),
    ]
    return [(GuestRecords.configuration, Array(config.utf8))]
      + state.map { Record($0) }.map { ($0.type.rawValue, $0.body) }
  }
}
