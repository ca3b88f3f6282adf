import ArgumentParser
import EpochStore
import Glibc

struct Reread: ParsableCommand {
  @Argument var store: String
  @Argument var epoch: Int
  @Option var threads = 2
  @Option var runs = 20
  @Option var out: String?
  func run() throws {
    if let out {
      let file = fopen(out, "w")!
      try EpochStore(path: store).folder(uuid: BenchStore.uuid, create: false).open(epoch: epoch).forEachBatch { _ = fwrite($0.bytes.baseAddress, 1, $0.bytes.count, file) }
      fclose(file)
      return
    }
    let folder = try EpochStore(path: store).folder(uuid: BenchStore.uuid, create: false)
    var best = Cost.unreached
    var cpu = Double.infinity
    for _ in 0..<runs {
      let c = try cost { try folder.open(epoch: epoch).forEachBatch(threads: threads) { _ in } }
      best = min(best, c)
      cpu = min(cpu, c.processor)
    }
    print("wall=\(figure(best.wall)) cpu=\(figure(cpu))")
  }
}
