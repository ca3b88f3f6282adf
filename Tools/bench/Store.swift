import ArgumentParser
import EpochStore
import Glibc

/// Incremental epochs against full ones: what a chain costs, in bytes, in time and at restore.
struct Store: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write chains of epochs of memory-like data and compare with full epochs.",
    discussion: """
      Between two epochs the guest writes to runs of 1 to 64 pages that follow each other, three of four in the tenth \
      of its memory that it works on; with --scattered to single pages anywhere, the worst case of a chain.
      """)

  @Option(help: "Folder to write epochs to.") var dir = "/dev/shm"
  @Option(help: "MiB of the guest.") var size = 512
  @Option(help: "MiB that the guest changes from epoch to epoch.") var dirty = 16
  @Option(help: "Epochs of the chain.") var epochs = 200
  @Option(help: "Threads.") var threads = 2
  @Option(help: "Runs of each measurement; the best counts.") var runs = 7
  @Flag(help: "Change single pages anywhere.") var scattered = false

  func validate() throws {
    guard size > 0, dirty > 0, dirty < size, epochs > 1, threads > 0, runs > 0 else {
      throw ValidationError("size, dirty, threads and runs start at 1, epochs at 2, and dirty is less than size")
    }
  }

  func run() throws {
    print("size_mib=\(size) dirty_mib=\(dirty) epochs=\(epochs) scattered=\(scattered) threads=\(threads) dir=\(dir)")
    try chain()
    try sizes()
  }

  /// The newest epoch of a long chain against a full epoch of the same content.
  private func chain() throws {
    var guest = BenchGuest(bytes: size << 20, scattered: scattered)
    let chain = try BenchStore(dir, "chain")
    let full = try BenchStore(dir, "full")
    try chain.take(&guest, threads: threads)
    var stored: UInt64 = 0
    var changed = 0
    for _ in 1..<epochs {
      guest.work(pages: dirty << 20 / EpochFormat.pageSize)
      let taken = try chain.take(&guest, threads: threads)
      stored += taken.manifest.bytes
      changed += taken.changedBytes
    }
    try full.take(&guest, threads: threads)
    let newest = try chain.folder.open(epoch: epochs)
    let index = try chain.indexBytes(epochs)
    print(
      "chain: needs=\(newest.manifest.needs.count) changed_mib=\(changed >> 20) stored_mib=\(stored >> 20)"
        + " ratio stored/changed=\(figure(Double(stored) / Double(changed))) (bar 0.550)")
    print(
      "index: bytes=\(index) percent_of_pages="
        + figure(100 * Double(index) / Double(newest.pageCount * EpochFormat.pageSize)) + " (bar 1.000)"
        + " bytes_per_changed_page=" + figure(Double(index) / Double(dirty << 20 / EpochFormat.pageSize)))
    var (long, short) = (Cost.unreached, Cost.unreached)
    for _ in 1...runs {
      long = min(long, try cost { try chain.restore(epochs, threads: threads) })
      short = min(short, try cost { try full.restore(1, threads: threads) })
    }
    print(
      "restore: newest_s=\(figure(long.wall)) full_s=\(figure(short.wall))"
        + " ratio newest/full=\(figure(long.wall / short.wall)) (bar 1.100)"
        + " cpu_ratio=\(figure(long.processor / short.processor))")
  }

  /// One incremental epoch of a large guest against one of a small guest that changed as much.
  private func sizes() throws {
    var (small, large) = (Cost.unreached, Cost.unreached)
    var (smallBytes, largeBytes) = (UInt64(0), UInt64(0))
    var smallGuest = BenchGuest(bytes: 256 << 20, scattered: scattered)
    var largeGuest = BenchGuest(bytes: 1024 << 20, scattered: scattered)
    let smallStore = try BenchStore(dir, "small")
    let largeStore = try BenchStore(dir, "large")
    try smallStore.take(&smallGuest, threads: threads)
    try largeStore.take(&largeGuest, threads: threads)
    for _ in 1...runs {
      smallGuest.work(pages: dirty << 20 / EpochFormat.pageSize)
      largeGuest.work(pages: dirty << 20 / EpochFormat.pageSize)
      let (first, second) = (
        try smallStore.take(&smallGuest, threads: threads), try largeStore.take(&largeGuest, threads: threads)
      )
      small = min(small, first.cost)
      large = min(large, second.cost)
      smallBytes += first.manifest.bytes
      largeBytes += second.manifest.bytes
    }
    print(
      "guest of 1024 against 256 MiB: store_s=\(figure(large.wall)) and \(figure(small.wall))"
        + " ratio time=\(figure(large.wall / small.wall)) (bar 1.200)"
        + " bytes=\(figure(Double(largeBytes) / Double(smallBytes))) (bar 1.100)")
  }
}
