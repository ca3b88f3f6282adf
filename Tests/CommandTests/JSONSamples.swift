@testable import Checkpoint
@testable import ControlAPI
@testable import DeviceMapper
@testable import EpochStore
@testable import Scheduling
@testable import ckpt

/// What commands print, with everything in it that may be there: most of it is seen on hosts with Xen only.
enum JSONSamples {
  static func all() throws -> [(command: String, value: any Encodable)] {
    try store() + disks() + policies() + status()
  }

  private static let moment = EpochTime(milliseconds: 1)
  private static let disk = EpochManifest.Disk(
    vdev: "xvda", pool: "main", thinID: 1, sizeBytes: 1, sectorBytes: 512, device: "/dev/mapper/a", readOnly: false)

  private static var manifest: EpochManifest {
    var statistics = TakeStatistics()
    statistics.rounds = [.init(name: "1", zero: 1)]
    statistics.relocatedPages = 1
    let manifest = EpochManifest(
      guest: "web", uuid: "u", epoch: 1, kind: .pv, vcpus: 1, memoryBytes: 1, disks: [disk], phases: ["copy": 1],
      statistics: statistics)
    return manifest.imported(identity: 1, disks: [disk])
  }

  private static func verdict(_ method: VerifyMethod) -> EpochVerdict {
    EpochVerdict(
      epoch: 1, time: moment, method: method, damage: [.init(file: "f", what: "w")], damageCount: 1, fullTime: moment)
  }

  private static func store() throws -> [(String, any Encodable)] {
    let marks = try EpochMarks(pinned: true, tags: ["a"], note: "n")
    let shown = ManifestWithVerdict(manifest: manifest, verdict: verdict(.subset(0.5)), marks: marks)
    let exported = ExportedBundle(
      manifest: manifest, base: 1, bytes: 1, diskFileBytes: 1, resumedAt: 1, totals: BundleTotals())
    let imported = ImportedEpoch(manifest: manifest, base: 1, wasThere: false, totals: BundleTotals(), notes: ["n"])
    let verified = VerifiedAnswer(guest: "web", uuid: "u", epoch: 1, verdict: verdict(.subset(0.5)), error: "e")
    let plan = RestorePlan(
      guest: "web", epoch: 1, time: moment, domain: 1, clone: "c", cloneUUID: "u",
      disks: [.init(vdev: "xvda", path: "p", pool: "main", sizeBytes: 1, fate: .cloned)], noSafetyReason: "r")
    let restored = RestoreReport(
      RestoreAnswer(
        guest: "web", uuid: "u", epoch: 1, domain: 1, safetyEpoch: 1, steps: [.init(name: "start", ms: 1)], plan: plan))
    let marked = ["tag", "untag", "pin", "unpin", "note"].map { ($0, MarkAnswer(epoch: 1, marks) as any Encodable) }
    return marked + [
      ("take", manifest), ("list", [shown]), ("show", shown), ("verify", [verified]),
      ("export", BundleOutput.Report(exported, file: "f")),
      ("import", ImportCommand.Report(imported)), ("restore", restored), ("undo", restored), ("diff", difference),
    ]
  }

  private static var difference: DiffCommand.Report {
    DiffCommand.Report(
      EpochDifference(
        first: manifest, second: manifest, memory: [.init(start: 0, bytes: 1)],
        disks: [
          .init(
            vdev: "xvda", sizeBytes: 1, delta: ThinDelta(), regions: [.init(start: 0, bytes: 1)], problem: "p")
        ]))
  }

  private static var pool: PoolReport {
    let catalog = PoolCatalog(name: "main", identity: "1", backing: .devices(data: "/dev/a", metadata: "/dev/b"))
    var report = PoolReport(catalog, PoolStatus(mode: .readWrite, totalMetadataBlocks: 1, totalDataBlocks: 1))
    report.problem = "p"
    return report
  }

  private static func disks() -> [(String, any Encodable)] {
    let disk = DiskCommand.View(
      Disks.Entry(guest: "web", vdev: "xvda", pool: "main", path: "p", sizeBytes: 1, epochs: 1, origin: "/dev/vg0/web"))
    let view = ViewReport(
      guest: "web", uuid: "u", disk: "xvda", device: "d", epoch: 1, readOnly: true, mounts: ["/mnt"])
    let adopted = AdoptCommand.Disk(
      AdoptedDisk(
        vdev: "xvda", pool: "main", volume: "vg0/web", oldPath: "o", path: "p", sizeBytes: 1, heldNanoseconds: 1))
    let released = ReleaseCommand.Disk(vdev: "xvda", path: "p", copiedBytes: 1)
    let pools = ["create", "grow", "remove", "show", "start", "stop"].map {
      ("pool \($0)", [PoolReportView(pool)] as any Encodable)
    }
    return pools + [
      ("disk create", disk), ("disk list", [disk]), ("disk remove", [disk]), ("mount", view), ("umount", [view]),
      ("adopt", MovedDisks(guest: "web", disks: [adopted], configurationWritten: true)),
      ("release", MovedDisks(guest: "web", disks: [released], configurationWritten: true)),
    ]
  }

  private static func policies() throws -> [(String, any Encodable)] {
    var keep = RetentionPolicy()
    (keep.last, keep.minutely, keep.hourly, keep.daily) = (1, 1, 1, 1)
    (keep.weekly, keep.monthly, keep.yearly, keep.within, keep.tags) = (1, 1, 1, RetentionSpan("2d"), ["a"])
    let timings: [Schedule.Timing] = [.every(Interval(seconds: 60)), .calendar("daily")]
    let schedules = try timings.map {
      try Schedule(
        guest: "web", timing: $0, jitter: Interval(seconds: 1), maxPauseSeconds: 1, keep: keep, isPaused: true,
        since: moment)
    }
    var record = RunRecord(guest: "web")
    (record.lastSlot, record.lastStart, record.lastEnd, record.lastSuccess) = (moment, moment, moment, moment)
    (record.lastEpoch, record.problem, record.pruneProblem) = (1, "p", "p")
    (record.previousSlot, record.diedIn) = (moment, moment)
    let shown = schedules.map {
      ScheduleStatus(schedule: $0, state: .paused, nextRuns: [moment], record: record, problem: "p")
    }
    let pool = PruneReport.Pool(pool: "main", snapshots: 1, inUse: 0, freedBytes: 1)
    let pruned = PruneReport(
      guest: "web", uuid: "u", epochs: [.init(epoch: 1, time: moment.description, keep: false, reasons: ["no rule"])],
      dryRun: false, removed: [1], freedBytes: 1, heldBytes: 1, pools: [pool], notes: ["n"])
    let removed = RemoveAnswer(
      guest: "web", uuid: "u", dryRun: false, removed: [1], freedBytes: 1, heldBytes: 1, pools: [pool], notes: ["n"],
      poolProblem: "p", folderRemoved: true)
    let lists = ["list", "set", "pause", "resume"].map { ("schedule \($0)", shown as any Encodable) }
    return lists + schedules.map { ("schedule remove", $0) } + [("prune", [pruned]), ("remove", removed)]
  }

  private static func status() -> [(String, any Encodable)] {
    var limits = SpaceLimits()
    limits.storeQuota = 1
    var host = HostStatus(
      host: "h", store: .init(path: "s", used: 1, fileSystem: FileSystemSpace(total: 1, free: 1), limits: limits))
    var guest = HostStatus.Guest(name: "web", uuid: "u")
    (guest.domain, guest.quota, guest.newest) = (1, 1, EpochSummary(manifest))
    guest.streak.lastFailure = .init(kind: "failed", phase: "copy", message: "m")
    guest.pruneProblem = "p"
    (host.xen, host.pools, host.guests) = ("4.17", [pool], [guest])
    let operation = OperationStatus(
      id: "1", kind: "take", guest: "web", by: "uid 0", started: moment, phase: "copy", isCancelled: false)
    let service = DaemonStatus(
      pid: 1, store: "s", config: "c", started: moment, isEnding: false, operations: [operation],
      scheduleProblem: "p")
    let recovered = RecoverAnswer(
      devices: ["d"], guests: [.init(guest: "web", domain: 1, outcome: .resumed)], logs: ["web"], swept: ["f"],
      failures: ["e"], unfinished: ["r"])
    return [
      ("status", StatusView(host, service: service, scheduler: 1)), ("recover", recovered),
      ("doctor", DoctorReport([Finding(.problem, .pools, of: "main", "w", fix: "f")])),
      ("rename", RenameAnswer(uuid: "u", old: "web", name: "w")),
      ("config check", ConfigCommand.Check.Report(file: "f", faults: [.init(line: 1, what: "w")])),
      ("config reload", ReloadAnswer(config: "c", faults: ["f"])),
    ]
  }
}
