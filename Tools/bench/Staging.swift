import ArgumentParser
import Checkpoint
import Dispatch
import EpochStore
import Glibc
import Xen

/// The copy of the pause against plain memcpy of the same pages, on as many threads: no Xen, no root.
struct Staging: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Copy dirty pages through a take's pause and compare with memcpy.")

  @Option(help: "Folder to write epochs to.") var dir = "/dev/shm"
  @Option(help: "MiB of guest memory.") var size = 512
  @Option(help: "MiB that the guest writes as it suspends.") var dirty = 64
  @Option(help: "Threads for both sides.") var threads = 2
  @Option(help: "Runs of each; the best counts.") var runs = 7

  func run() throws {
    let guest = MemoryGuest(bytes: size << 20)
    let store = try BenchStore(dir, "staging")
    let memory = TakeMemory()
    var options = TakeOptions()
    options.tracking = .continuous
    options.threads = threads
    options.stagingBytes = (dirty + 32) << 20
    // Everything that is dirty at the suspend is the pause's; the rounds before it find nothing.
    func take() throws -> EpochManifest {
      try Take(guest, disks: NoDisks(), into: store.folder, options: options, memory: memory).run()
    }
    _ = try take()
    // Every eighth page is left out: a dirty set has holes.
    for pfn in 0..<UInt64(dirty * 256 * 8 / 7) where pfn % 8 != 7 { guest.dirtyAtSuspend.insert(pfn) }
    var best = Double.infinity
    var plain = Double.infinity
    for _ in 0..<runs {
      plain = min(plain, copyPlainly(guest))
      best = min(best, try take().phases["copy_pages"] ?? .infinity)
    }
    let mib = Double(guest.dirtyAtSuspend.count) / 256
    print("dirty_mib=\(figure(mib)) threads=\(threads) runs=\(runs)")
    print("memcpy_ms=\(figure(plain)) staging_ms=\(figure(best)) staging_gib_s=\(figure(mib / 1024 / best * 1000))")
    print("ratio staging/memcpy=\(figure(plain / best)) (bar 0.700)")
  }

  /// The same pages, one after the other, into memory that is faulted in.
  private func copyPlainly(_ guest: MemoryGuest) -> Double {
    var pfns: [UInt64] = []
    var pieces = PageSet.Batches(guest.dirtyAtSuspend)
    while let piece = pieces.take() { pfns += piece }
    let list = pfns
    let target = UnsafeMutableRawBufferPointer.allocate(byteCount: list.count * 4096, alignment: 4096)
    defer { target.deallocate() }
    memset(target.baseAddress!, 1, target.count)
    nonisolated(unsafe) let base = target.baseAddress!
    let start = ContinuousClock.now
    DispatchQueue.concurrentPerform(iterations: threads) { thread in
      for index in list.count * thread / threads..<list.count * (thread + 1) / threads {
        memcpy(base + index * 4096, guest.page(list[index]), 4096)
      }
    }
    return (ContinuousClock.now - start).milliseconds
  }
}
