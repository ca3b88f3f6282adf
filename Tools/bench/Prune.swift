import ArgumentParser
import EpochStore
import Glibc

/// What a long history costs: listing it, and removing most of it.
struct Prune: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "List many epochs, and compare their removal with plain unlink calls.",
    discussion: "Run it on a disk too: there unlink, and the fsyncs that make a removal safe, cost what they cost.")

  @Option(help: "Folder to write epochs to.") var dir = "/dev/shm"
  @Option(help: "Epochs to list.") var list = 10_000
  @Option(help: "Epochs to remove.") var prune = 1000
  @Option(help: "KiB of the file of each epoch that is removed.") var size = 256
  @Option(help: "Runs of each; the best counts.") var runs = 5

  func validate() throws {
    guard list > 0, prune > 0, size > 0, runs > 0 else { throw ValidationError("every number starts at 1") }
  }

  func run() throws {
    print("list=\(list) prune=\(prune) size_kib=\(size) runs=\(runs) dir=\(dir)")
    try listing()
    try removal()
    try policy()
  }

  private func listing() throws {
    let store = try BenchStore(dir, "list")
    for epoch in 1...list { try store.publish(epoch, kibibytes: 0) }
    var (quick, thorough) = (Cost.unreached, Cost.unreached)
    for _ in 1...runs { quick = min(quick, try cost { _ = try store.folder.overview() }) }
    thorough = try cost { _ = try store.folder.epochs() }
    print(
      "list: overview_ms=\(figure(quick.wall * 1000)) (bar 100.000) per_epoch_us=\(figure(quick.wall * 1e6 / Double(list)))"
        + " cpu_ms=\(figure(quick.processor * 1000))"
        + " ratio overview/decoding=\(figure(quick.wall / thorough.wall)) manifest_bytes=\(store.manifestBytes(list))")
  }

  /// Removing against the unlink calls that it cannot do without, on files of the same sizes.
  private func removal() throws {
    var (unlinks, removal) = (Cost.unreached, Cost.unreached)
    for _ in 1...runs {
      let (plain, pruned) = (try BenchStore(dir, "plain"), try BenchStore(dir, "pruned"))
      for epoch in 1...(prune + 1) {
        try plain.publish(epoch, kibibytes: size)
        try pruned.publish(epoch, kibibytes: size)
      }
      unlinks = min(unlinks, cost { for epoch in 1...prune { plain.unlinkEpoch(epoch) } })
      removal = min(removal, try cost { _ = try pruned.folder.remove(epochs: Set(1...prune)) })
    }
    print(
      "prune: remove_ms=\(figure(removal.wall * 1000)) unlink_ms=\(figure(unlinks.wall * 1000))"
        + " ratio remove/unlink=\(figure(removal.wall / unlinks.wall)) (bar 2.000)"
        + " cpu_ratio=\(figure(removal.processor / unlinks.processor))")
  }

  private func policy() throws {
    var policy = RetentionPolicy()
    (policy.last, policy.hourly, policy.daily, policy.monthly) = (12, 24, 7, 12)
    let subjects = (1...list).map {
      Retention.Subject(epoch: $0, time: EpochTime(milliseconds: 1_785_500_000_000 + Int64($0) * 300_000))
    }
    var best = Cost.unreached
    for _ in 1...runs { best = min(best, try cost { _ = try Retention.decide(policy, subjects, now: .now) }) }
    print("policy: decide_ms=\(figure(best.wall * 1000)) epochs=\(list)")
  }
}
