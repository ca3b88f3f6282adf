import ArgumentParser
import EpochStore
import Glibc

/// The store alone against what LZ4 can do on the same cores: no Xen, no root.
struct Native: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write memory-like data to an epoch and compare with plain LZ4.",
    discussion: """
      The ratio shows the store's own cost only where the folder is faster than LZ4 (/dev/shm). On a slower disk it \
      shows the disk; the last line then says so. No space is set aside first, as a take does: that costs a disk \
      next to nothing, but tmpfs fills memory and frees it again. What tmpfs needs for its pages is in the figure.
      """)

  @Option(help: "Folder to write epochs to.") var dir = "/dev/shm"
  @Option(help: "MiB of memory to write.") var size = 1024
  @Option(help: "Threads for both sides.") var threads = 2
  @Option(help: "Runs of each; the best counts.") var runs = 7

  func validate() throws {
    guard size > 0, threads > 0, runs > 0 else { throw ValidationError("size, threads and runs start at 1") }
  }

  func run() throws {
    let image = MemoryImage(bytes: size << 20)
    let plain = PlainLZ4(image)
    var lz4 = Cost.unreached
    var lz4Bytes = 0
    var best = StoreTimes()
    lz4Bytes = plain.run(threads: threads)
    let before = try resetPeak()
    // By turns, so that a busy moment of the machine does not fall on one side only.
    for run in 1...runs {
      lz4 = min(lz4, cost { lz4Bytes = plain.run(threads: threads) })
      let times = try writeEpoch(image, epoch: run)
      if times.total < best.total { best = times }
    }
    let peak = try memory("VmHWM") - before

    print("size_mib=\(size) data_mib=\(plain.dataBytes >> 20) threads=\(threads) runs=\(runs) dir=\(dir)")
    print("lz4_s=\(figure(lz4.wall)) lz4_cpu_s=\(figure(lz4.processor)) lz4_bytes=\(lz4Bytes)")
    print(
      "store_s=\(figure(best.total.wall)) append_s=\(figure(best.append.wall)) publish_s=\(figure(best.publish.wall))"
        + " store_cpu_s=\(figure(best.total.processor)) file_bytes=\(best.bytes)"
    )
    print(
      "ratio store/lz4=\(figure(lz4.wall / best.total.wall)) (bar 0.800)"
        + " cpu_ratio=\(figure(lz4.processor / best.total.processor))"
        + " peak_rss_mib=\(figure(Double(peak) / 1024)) (bar 64.000)")
    if best.total.processor < best.total.wall * Double(threads) / 2 {
      print("the store waited for more than half of the time: the disk or other work on the machine was the limit")
    }
  }

  private struct StoreTimes {
    var append = Cost.unreached
    var publish = Cost.unreached
    var bytes: UInt64 = 0
    var total: Cost {
      Cost(wall: append.wall + publish.wall, processor: append.processor + publish.processor)
    }
  }

  private func writeEpoch(_ image: borrowing MemoryImage, epoch: Int) throws -> StoreTimes {
    let store = try BenchStore(dir, "native")
    let staged = image.staged
    var times = StoreTimes()
    let writer = try store.folder.create(epoch: epoch, reserving: 0)
    times.append = try cost { try writer.append(staged, threads: threads) }
    let manifest = BenchStore.manifest(epoch: epoch, memoryBytes: size << 20)
    times.publish = try cost { times.bytes = try writer.publish(manifest).bytes }
    return times
  }

  // MARK: Peak memory

  /// Forgets the peak so far (proc(5), clear_refs 5) and returns what is resident now, in KiB.
  private func resetPeak() throws -> Int {
    guard let file = fopen("/proc/self/clear_refs", "w") else { throw ValidationError("no /proc/self/clear_refs") }
    fputs("5\n", file)
    fclose(file)
    return try memory("VmRSS")
  }

  private func memory(_ name: String) throws -> Int {
    guard let file = fopen("/proc/self/status", "r") else { throw ValidationError("no /proc/self/status") }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    while fgets(&line, Int32(line.count), file) != nil {
      let words = line.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }.split(
        whereSeparator: \.isWhitespace)
      if words.first == "\(name):", words.count > 1, let value = Int(words[1]) { return value }
    }
    throw ValidationError("no \(name) in /proc/self/status")
  }
}

/// What a piece of work took, in seconds: wall clock, and processor time of all its threads.
struct Cost: Comparable {
  var wall: Double
  var processor: Double

  static let unreached = Cost(wall: .infinity, processor: .infinity)
  static func < (left: Cost, right: Cost) -> Bool { left.wall < right.wall }
}

func cost(_ body: () throws -> Void) rethrows -> Cost {
  let (started, used) = (ContinuousClock.now, processorSeconds())
  try body()
  return Cost(
    wall: (ContinuousClock.now - started).milliseconds / 1000, processor: processorSeconds() - used)
}

private func processorSeconds() -> Double {
  var clock = timespec()
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &clock)
  return Double(clock.tv_sec) + Double(clock.tv_nsec) / 1e9
}
