import CLinux
import EpochStore
import Foundation
import Testing

private let hasXen = FileManager.default.fileExists(atPath: "/dev/xen/privcmd")

@Suite("The command")
struct CommandTests {
  @Test("On a machine without Xen it says how to see it work", .enabled(if: !hasXen))
  func noXen() throws {
    let result = try ckpt(["take", "web"])
    #expect(result.status == 12)
    #expect(result.errors.hasPrefix("ckpt: no Xen here") && result.errors.contains("./Tools/demo"))
    #expect(result.errors.filter { $0 == "\n" }.count == 1)
    #expect(result.output.isEmpty)
  }

  @Test(
    "Wrong words are one line and a documented status",
    arguments: [
      (["list", "--store", "/nowhere"], Int32(10), "no store at /nowhere"),
      (["show", "web", "1", "--store", "/nowhere"], 10, "no store at /nowhere"),
      (["status", "--store", "/nowhere"], 10, "no store at /nowhere"),
      (["diff", "web", "1", "2", "--store", "/nowhere"], 10, "no store at /nowhere"),
      (["mount", "--store", "/nowhere"], 10, "no store at /nowhere"),
      (["umount", "--all", "--store", "/nowhere"], 10, "no store at /nowhere"),
      (["export", "web", "1", "--format", "core", "/tmp/never", "--store", "/nowhere"], 10, "no store at /nowhere"),
      (["export", "web", "1", "/tmp/never", "--bundle", "--store", "/nowhere"], 10, "no store at /nowhere"),
      (["import", "/nowhere/file"], 12, "cannot open /nowhere/file"),
      (["import", "/etc/passwd", "--store", "/nowhere"], 12, "neither a bundle nor a file of `xl save`"),
      (["status", "--config", "/nowhere/ckpt.conf"], 12, "/nowhere/ckpt.conf: No such file"),
      (["pool", "grow", "main", "--data-size", "lots"], 12, "'lots' is no size"),
      (["disk", "create", "web", "xvda", "--size", "lots"], 12, "'lots' is no size"),
      (["disk", "create", "web", "xvda", "--size", "0"], 12, "'0' is no size"),
      (["pool", "create", "--vg", "vg0", "--size", "lots"], 12, "'lots' is no size"),
      (["pool", "create", "--vg", "vg0", "--size", "101%"], 12, "'101%' is no share"),
      (["pool", "create", "--file", "/x", "--size", "20%"], 12, "'20%' is no size"),
      (["adopt", "web", "--store", "/nowhere"], 10, "no store at /nowhere"),
      (["release", "web", "--store", "/nowhere"], 10, "no store at /nowhere"),
      (["pool", "remove", "main", "--store", "/nowhere"], 10, "no store at /nowhere"),
      (["release", "web", "--config", "/nowhere/web.cfg"], 12, "/nowhere/web.cfg: No such file"),
      (["disk", "create", "web", "xvda", "--size", "99999999999T"], 12, "is no size"),
      (
        ["take", "web", "--limit-rate", "9999999T"], 12, "'9999999T' is no size; write it like 10G, 512M or 4096, 1024T"
      ),
      (["pool", "create", "--file", "/x", "--size", "8388608T"], 12, "'8388608T' is no size"),
      (["pool", "grow", "main", "--metadata-size", "1025T"], 12, "'1025T' is no size"),
    ])
  func wrongWords(arguments: [String], status: Int32, words: String) throws {
    let result = try ckpt(arguments)
    #expect(result.status == status)
    #expect(result.errors.contains(words))
    #expect(result.errors.filter { $0 == "\n" }.count == 1)
  }

  @Test(
    "Wrong usage has its own status",
    arguments: [
      ["take"], ["take", "web", "--timeout", "0"], ["take", "web", "--timeout", "inf"],
      ["take", "web", "--timeout", "nan"], ["restore", "web"], ["restore", "web", "first one"],
      ["restore", "web", "@noon"],
      ["restore", "web", "-0"],
      ["restore", "web", "-x"], ["restore", "web", "1", "--as", "x", "--disks-only"], ["undo"], ["remove", "web"],
      ["remove", "web", "1", "--all"], ["remove", "--all"],
      ["restore", "web", "1", "--paused", "--disks-only"], ["note", "web", "1", "two\nlines"],
      ["note", "web", "1", "two\u{2028}lines"], ["note", "web", "1", "txt\u{202e}exe"],
      ["note", "web", "1", "\u{2066}a"],
      ["pool", "create", "main"], ["pool", "grow"], ["pool", "remove"],
      ["adopt"], ["release"], ["pool", "create", "--vg", "vg0"],
      ["pool", "create", "--vg", "vg0", "--file", "/x", "--size", "1G"],
      ["pool", "create", "main", "--data", "/dev/x"], ["disk", "create", "web", "xvda"],
      ["disk", "create", "web", "xvda", "--size", "1G", "--from", "/dev/x"], ["nonsense"],
      ["verify", "--subset", "5"], ["verify", "--subset", "0%"], ["verify", "--subset", "100%"],
      ["verify", "--subset", "5%", "--full"], ["verify", "web", "@"],
      ["prune", "web", "--keep-last", "-1"], ["prune", "--keep-within", "5"], ["prune", "--keep-last", "many"],
      ["tag", "web", "1"], ["tag", "web", "1", "a b"], ["tag", "web", "1", "latest"], ["tag", "web", "1", "7"],
      ["export", "web", "1", "-", "--format", "dump"], ["export", "web", "1", "f", "--since", "1"],
      ["export", "web", "1", "f", "--bundle", "--format", "xl"], ["export", "web", "1", "-", "--bundle", "--resume"],
      ["import"], ["diff", "web", "1"], ["mount", "web"], ["mount", "web", "1"],
      ["mount", "--at", "/mnt"], ["umount"], ["umount", "web", "1"], ["umount", "web", "1", "xvda", "--all"],
    ])
  func usage(arguments: [String]) throws { #expect(try ckpt(arguments).status == 64) }

  @Test(
    "An import that is told to stop does so while its pipe brings nothing, with its own status", .timeLimit(.minutes(1))
  )
  func interrupted() throws {
    var ends: [Int32] = [0, 0]
    #expect(pipe2(&ends, O_CLOEXEC) == 0)
    defer { for end in ends { close(end) } }
    #expect(write(ends[1], "CKPTBND1", 8) == 8)
    let process = ckptProcess(["import", "-", "--store", "/nowhere"])
    let errors = Pipe()
    (process.standardInput, process.standardError) = (FileHandle(fileDescriptor: ends[0]), errors)
    try process.run()
    // Once it reads, it hears.
    var waiting = pollfd(fd: ends[0], events: Int16(POLLIN), revents: 0)
    while poll(&waiting, 1, 0) != 0 { usleep(10_000) }
    process.terminate()
    process.waitUntilExit()
    #expect(process.terminationReason == .exit && process.terminationStatus == 130)
    let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    #expect(text == "ckpt: interrupted; nothing is left half done, and a guest that ran runs on\n")
  }

  @Test(
    "Every command explains itself",
    arguments: [
      ["take"], ["restore"], ["status"], ["list"], ["show"], ["export"], ["import"], ["verify"], ["prune"], ["undo"],
      ["remove"],
      ["tag"], ["untag"], ["pin"], ["unpin"], ["note"], ["rename"], ["disk", "remove"],
      ["diff"], ["mount"], ["umount"],
      ["schedule", "set"], ["schedule", "list"], ["pool", "create"],
      ["pool", "show"],
      ["pool", "grow"],
      ["pool", "start"],
      ["pool", "remove"],
      ["disk", "create"],
      ["disk", "list"],
      ["adopt"],
      ["release"], ["doctor"], ["recover"], ["schedule", "pause"], ["config", "check"], ["config", "reload"],
    ])
  func help(command: [String]) throws {
    let result = try ckpt(command + ["--help"])
    #expect(result.status == 0)
    #expect(result.output.contains("USAGE: ckpt \(command.joined(separator: " "))"))
    #expect(result.output.contains("--json"))
  }

  @Test("Epochs in JSON have the promised keys")
  func keys() throws {
    let store = try SampleStore()
    let promised: Set = [
      "guest", "uuid", "epoch", "time", "pause_ms", "stop_ms", "bytes", "pages", "disks", "phases",
    ]
    let list = try ckpt(["list", "web", "--json", "--store", store.path])
    let epochs = try #require(
      try JSONSerialization.jsonObject(with: Data(list.output.utf8)) as? [[String: Any]])
    #expect(epochs.map { $0["epoch"] as? Int } == [1, 2])
    #expect(epochs.allSatisfy { Set($0.keys).isSuperset(of: promised) })
    let show = try ckpt(["show", "web", "2", "--json", "--store", store.path])
    let epoch = try #require(try JSONSerialization.jsonObject(with: Data(show.output.utf8)) as? [String: Any])
    #expect(epoch["pause_ms"] as? Double == 12.5 && epoch["stop_ms"] as? Double == 3.25)
  }

  @Test("The doctor tells without Xen what is wrong, in short lines, with the next command", .enabled(if: !hasXen))
  func doctor() throws {
    let store = try SampleStore()
    let result = try ckpt(["doctor", "--store", store.path])
    #expect(result.status == 12 && result.errors.isEmpty)
    let lines = result.output.split(separator: "\n")
    #expect(lines.allSatisfy { $0.count <= 80 && !$0.contains("\u{1b}") })
    #expect(lines.first == "problem  xen        no Xen under this kernel: no guests run here")
    #expect(lines.contains { $0.hasPrefix("                    -> apt install xen-system-amd64") })
    #expect(lines.last?.contains("problem") == true && lines.last?.contains("warning") == true)
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: store.path)
    let open = try ckpt(["doctor", "--store", store.path, "--config", "/nowhere/ckpt.conf", "--json"]).output
    let report = try #require(try JSONSerialization.jsonObject(with: Data(open.utf8)) as? [String: Any])
    #expect(
      Set(report.keys) == ["level", "problems", "warnings", "findings"] && report["level"] as? String == "problem")
    let findings = try #require(report["findings"] as? [[String: Any]])
    let keys: Set = ["level", "area", "subject", "what", "fix"]
    #expect(findings.allSatisfy { Set($0.keys).isSubset(of: keys) && $0["what"] is String })
    #expect(findings.count { $0["level"] as? String == "problem" } == report["problems"] as? Int)
    let fixes = findings.compactMap { $0["fix"] as? String }
    #expect(fixes.contains { $0.hasSuffix("ckpt config check /nowhere/ckpt.conf") })
    if geteuid() == 0 { #expect(fixes.contains("chmod 0700 \(store.path)")) }
  }

  @Test("An unknown epoch names those that are there")
  func unknownEpoch() throws {
    let store = try SampleStore()
    let result = try ckpt(["show", "web", "7", "--store", store.path])
    #expect(result.status == 10)
    #expect(result.errors == "ckpt: guest 'web' has no epoch 7; it has 1, 2\n")
  }

  @Test("The status fits a screen, needs neither Xen nor the service, and tells what is wrong")
  func status() throws {
    let store = try SampleStore()
    try Data("{}".utf8).write(to: URL(fileURLWithPath: store.folder + "/00000001.json"))
    let folder = try #require(try EpochStore(path: store.path).find("web"))
    var streak = TakeStreak()
    streak.failures = 2
    let message = String(repeating: "word ", count: 40) + String(repeating: "x", count: 200) + "\u{1b}[2J"
    streak.lastFailure = .init(kind: "failed", phase: "copy", message: message)
    try folder.setStreak(streak)
    try Data().write(to: URL(fileURLWithPath: store.folder + "/00000003.epoch.partial"))
    let result = try ckpt(["status", "--store", store.path])
    #expect(result.status == 0)
    let lines = result.output.split(separator: "\n", omittingEmptySubsequences: false)
    #expect(lines.allSatisfy { $0.count <= 80 && !$0.contains("\u{1b}") })
    let words = [
      "store    \(store.path)", "GUEST  STATE  EPOCHS  NEWEST", "web    ", "1 of its epochs are damaged",
      "2 takes without an epoch:",
      "failed in copy: word word", "recover  to be run", "web: 1 files of no epoch",
    ]
    for words in words { #expect(result.output.contains(words), "\(words) in \(result.output)") }

    let json = try ckpt(["status", "--json", "--store", store.path])
    let status = try #require(try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any])
    #expect(Set(status.keys).isSuperset(of: ["host", "store", "pools", "guests", "recover", "unknown"]))
    let guest = try #require((status["guests"] as? [[String: Any]])?.first)
    #expect(guest["epochs"] as? Int == 2 && guest["damaged"] as? Int == 1 && guest["newest"] as? Int == 2)
    #expect(guest["failures_in_row"] as? Int == 2 && guest["pause_ms"] as? Double == 12.5)
    #expect((status["store"] as? [String: Any])?["used_bytes"] as? Int ?? 0 > 0)
  }

  @Test(
    "The usual configuration file need not exist",
    .enabled(if: !FileManager.default.fileExists(atPath: "/etc/ckpt/ckpt.conf")))
  func noConfiguration() throws {
    let checked = try ckpt(["config", "check"])
    #expect(checked.status == 0 && checked.errors.isEmpty && checked.output.contains("every value is the default"))
    #expect(try ckpt(["config", "check", "/nowhere/ckpt.conf"]).status == 12)
  }

  @Test("A folder that cannot be read is told of, and hides no other guest")
  func unreadableFolder() throws {
    let store = try SampleStore()
    let bad = store.path + "/22222222-2222-3333-4444-555555555555"
    // A file in a folder's place cannot be listed, by root neither.
    try Data().write(to: URL(fileURLWithPath: bad))
    let told = "cannot list \(bad): Not a directory (errno 20)"
    func run(_ words: String...) throws -> (status: Int32, output: String, errors: String) {
      try ckpt(words + ["--store", store.path])
    }
    let list = try run("list")
    #expect(list.status == 3 && list.output.contains("web") && list.errors == "ckpt: \(told)\n")
    #expect(try run("list", "--json").output.contains("\"epoch\" : 2"))
    let one = try run("list", "web")
    #expect(one.status == 0 && one.errors.isEmpty)
    let other = try run("show", "db", "1")
    #expect(other.status == 1 && other.errors == "ckpt: \(told)\n")

    let json = try run("status", "--json")
    let status = try #require(try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any])
    #expect(json.status == 0 && (status["unknown"] as? [String])?.contains(told) == true)
    #expect((status["guests"] as? [[String: Any]])?.first?["epochs"] as? Int == 2)
    let doctor = try run("doctor", "--json").output
    let report = try #require(try JSONSerialization.jsonObject(with: Data(doctor.utf8)) as? [String: Any])
    let findings = try #require(report["findings"] as? [[String: Any]])
    if geteuid() == 0 {
      let found = findings.first { $0["subject"] as? String == bad }
      #expect(found?["level"] as? String == "problem" && found?["what"] as? String == told)
      // The file system has the size that it has.
      #expect(!findings.contains { ($0["what"] as? String)?.contains("0B of 0B") == true })
    }

    let verified = try run("verify")
    #expect(verified.status == 3 && verified.errors == "ckpt: \(told)\n")
    #expect(verified.output.contains("2 epochs verified"))
    let verdicts = try JSONSerialization.jsonObject(with: Data(try run("verify", "--json").output.utf8))
    #expect((verdicts as? [[String: Any]])?.map { $0["epoch"] as? Int } == [1, 2])
    #expect(try run("verify", "web").status == 0)
    let pruned = try run("prune", "--keep-last", "1", "--yes")
    #expect(pruned.status == 3 && pruned.errors.contains(told))
    #expect(try epochs(store) == [2])
    #expect(try run("prune", "web", "--keep-last", "1", "--yes").errors.isEmpty)
  }

  @Test("The first pool of a host makes the store, private to root")
  func firstPool() throws {
    let path = FileManager.default.temporaryDirectory.path + "/ckpt-fresh-\(UInt64.random(in: 0...UInt64.max))"
    defer { try? FileManager.default.removeItem(atPath: path) }
    // It ends behind that: there is no device-mapper, or the folder is not named by its whole path.
    let result = try ckpt(["pool", "create", "t", "--file", "here", "--size", "1G", "--store", path])
    #expect(result.status != 0 && !result.errors.contains("No such file"), "\(result.errors)")
    let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
    #expect(mode == 0o700)
    // A refusal makes none.
    let other = path + "-other"
    #expect(try ckpt(["pool", "create", "--data", "/dev/x", "--metadata", "/dev/y", "--store", other]).status == 12)
    #expect(!FileManager.default.fileExists(atPath: other))
  }

  @Test("The status of an empty store says that there is nothing")
  func emptyStatus() throws {
    let path = FileManager.default.temporaryDirectory.path + "/ckpt-empty-\(UInt64.random(in: 0...UInt64.max))"
    _ = try EpochStore(path: path)
    defer { try? FileManager.default.removeItem(atPath: path) }
    let result = try ckpt(["status", "--store", path])
    #expect(result.status == 0 && result.output.contains("recover  nothing to do"))
    #expect(result.output.contains("pools    none"))
  }

  @Test("A damaged manifest is named and hides no other epoch")
  func damagedManifest() throws {
    let store = try SampleStore()
    let manifest = store.path + "/11111111-2222-3333-4444-555555555555/00000001.json"
    try Data("{}".utf8).write(to: URL(fileURLWithPath: manifest))
    let result = try ckpt(["list", "--store", store.path])
    #expect(result.errors.contains("epoch 1") && result.errors.contains("damaged"))
    #expect(result.output.contains("web    2"))
  }

  @Test("Numbers that no take can have had are printed, whatever they are", arguments: [1e300, -1e300, 1e15, 9.3e17])
  func absurdNumbers(number: Double) throws {
    let store = try SampleStore()
    let folder = try #require(try EpochStore(path: store.path).find("web"))
    var statistics = TakeStatistics()
    (statistics.totalMs, statistics.bytesPerSecond, statistics.dirtyPagesPerSecond) = (number, number, number)
    (statistics.pauseBytes, statistics.totalBytes) = (.min, .max)
    _ = try folder.create(epoch: 3, reserving: 0).publish(
      EpochManifest(
        guest: "web", uuid: folder.uuid, epoch: 3, kind: .pv, vcpus: -1, memoryBytes: .max, pauseMs: number,
        stopMs: number, phases: ["copy": number], statistics: statistics))
    for command in [["list"], ["show", "web", "3"]] {
      let result = try ckpt(command + ["--store", store.path])
      #expect(result.status == 0 && result.output.contains("\(number) ms"))
    }
  }
}
