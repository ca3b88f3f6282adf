import EpochStore
import Foundation
import Testing

private let hasSystemd = FileManager.default.fileExists(atPath: "/usr/bin/systemd-analyze")

@Suite("ckpt schedule")
struct ScheduleCommandTests {
  let store: SampleStore
  init() throws { store = try SampleStore() }

  private func schedule(_ arguments: String...) throws -> (status: Int32, output: String, errors: String) {
    try ckpt(["schedule"] + arguments + ["--store", store.path])
  }

  private func list(_ arguments: String...) throws -> [[String: Any]] {
    let result = try ckpt(["schedule", "list", "--json", "--store", store.path] + arguments)
    #expect(result.status == 0 && result.errors.isEmpty)
    return try #require(try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [[String: Any]])
  }

  private var file: String { store.path + "/schedules.json" }
  private var content: String? { try? String(contentsOfFile: file, encoding: .utf8) }

  @Test("A schedule is set, shown, paused, resumed and removed")
  func life() throws {
    let set = try schedule(
      "set", "web", "--every", "5m", "--jitter", "30s", "--max-pause", "2.5", "--keep-last", "12", "--keep-hourly",
      "24",
      "--keep-within", "2d", "--keep-tag", "gold")
    #expect(set.status == 0 && set.errors.isEmpty)
    #expect(set.output.contains("every 5m +30s") && set.output.contains("last 12, hourly 24,"))
    let web = try #require(try list("web").first)
    #expect(
      web["guest"] as? String == "web" && web["state"] as? String == "waiting" || web["state"] as? String == "due")
    #expect(web["every_seconds"] as? Int == 300 && web["jitter_seconds"] as? Int == 30)
    #expect(web["max_pause_seconds"] as? Double == 2.5 && web["paused"] as? Bool == false)
    #expect((web["next_runs"] as? [String])?.count == 3)
    #expect((web["runs"] as? [String: Any])?["missed"] as? Int == 0)
    #expect(try schedule("pause", "web").output.contains("paused"))
    #expect(try list()[0]["next_runs"] as? [String] == [] && list()[0]["state"] as? String == "paused")
    #expect(try schedule("resume", "web").status == 0)
    #expect(try list()[0]["paused"] as? Bool == false)
    let removed = try schedule("remove", "web")
    #expect(removed.status == 0 && removed.output == "web: schedule removed (every 5m); its epochs stay\n")
    #expect(try list().isEmpty)
  }

  @Test("Its file is the owner's alone")
  func mode() throws {
    _ = try schedule("set", "web", "--every", "5m")
    #expect(try FileManager.default.attributesOfItem(atPath: file)[.posixPermissions] as? Int == 0o600)
  }

  @Test(
    "A guest by its uuid is the one of that name; one that nobody knows yet may have a schedule, in a store that is new"
  )
  func names() throws {
    _ = try schedule("set", "11111111-2222-3333-4444-555555555555", "--every", "5m")
    _ = try schedule("set", "mail", "--every", "1h")
    #expect(try list().map { $0["guest"] as? String } == ["mail", "web"])
    #expect(try schedule("pause", "11111111-2222-3333-4444-555555555555").output.contains("web "))
    let new = store.path + "-new"
    defer { try? FileManager.default.removeItem(atPath: new) }
    #expect(try ckpt(["schedule", "set", "web", "--every", "5m", "--store", new]).status == 0)
  }

  @Test("A schedule from before the guest's first epoch, by its uuid, stays its own, however it is called")
  func early() throws {
    let uuid = "11111111-2222-3333-4444-555555555555"
    let new = store.path + "-new"
    defer { try? FileManager.default.removeItem(atPath: new) }
    #expect(try ckpt(["schedule", "set", uuid, "--every", "1m", "--store", new]).status == 0)
    try FileManager.default.copyItem(atPath: new + "/schedules.json", toPath: file)
    for guest in ["web", uuid] {
      #expect(try schedule("pause", guest).output.contains("paused"))
      #expect(try schedule("set", guest, "--every", "5m").status == 0)
      #expect(try list().map { $0["guest"] as? String } == [uuid] && list(guest)[0]["every_seconds"] as? Int == 300)
    }
    #expect(try schedule("remove", "web").status == 0)
    #expect(try list().isEmpty)
  }

  @Test("A calendar is systemd's; a word it does not know is refused in its words", .enabled(if: hasSystemd))
  func calendar() throws {
    #expect(try schedule("set", "web", "--calendar", "*-*-* *:30:00 UTC", "--keep-daily", "7").status == 0)
    let before = content
    let next = try #require(try list()[0]["next_runs"] as? [String])
    #expect(next.count == 3 && next.allSatisfy { $0.hasSuffix(":30:00.000Z") } && next == next.sorted())
    for (arguments, words) in [
      (["soon"], "Failed to parse calendar specification 'soon'"), (["2020-01-01"], "never comes"),
      (["--jitter", "2h", "hourly"], "a jitter of 2h"), (["a\nb"], "one line"),
    ] {
      let bad = try ckpt(
        ["schedule", "set", "web", "--store", store.path] + arguments.dropLast() + ["--calendar", arguments.last!])
      #expect(bad.status == 12 && bad.errors.contains(words) && bad.output.isEmpty)
      #expect(bad.errors.filter { $0 == "\n" }.count == 1)
    }
    #expect(content == before)
  }

  @Test("Set again as it was, a schedule goes on; with another interval it begins anew")
  func again() throws {
    func since() throws -> String? { try list()[0]["since"] as? String }
    _ = try schedule("set", "web", "--every", "5m")
    let first = try since()
    _ = try schedule("set", "web", "--every", "5m", "--keep-last", "3")
    #expect(try since() == first && list().count == 1)
    _ = try schedule("set", "web", "--every", "6m")
    #expect(try since() != first && list().count == 1)
  }

  @Test(
    "A value that no schedule can have is one line, and changes nothing",
    arguments: [
      (["web", "--every", "soon"], "'soon' is no interval"), (["web", "--every", "5"], "'5' is no interval"),
      (["web", "--every", "0s"], "every 0s"), (["web", "--every", "5m", "--jitter", "5m"], "a jitter of 5m"),
      (["web", "--every", "5m", "--jitter", "x"], "'x' is no interval"),
      (["web", "--every", "5m", "--max-pause", "0"], "a pause of 0.0 s"),
      (["web", "--every", "5m", "--max-pause=-1"], "a pause of -1.0 s"),
      (["web", "--every", "5m", "--max-pause", "nan"], "a pause of nan s"),
      (["17", "--every", "5m"], "a domain's number"),
      (["", "--every", "5m"], "no name"), (["a\nb", "--every", "5m"], "no name"),
    ])
  func badValues(arguments: [String], words: String) throws {
    _ = try schedule("set", "web", "--every", "7m")
    let before = content
    let result = try ckpt(["schedule", "set", "--store", store.path] + arguments)
    #expect(result.status == 12 && result.errors.hasPrefix("ckpt: ") && result.errors.contains(words))
    #expect(result.errors.filter { $0 == "\n" }.count == 1 && result.output.isEmpty)
    #expect(content == before)
  }

  @Test(
    "Wrong usage has its own status, and changes nothing",
    arguments: [
      ["set"], ["set", "web"], ["set", "web", "--every", "5m", "--calendar", "daily"],
      ["set", "web", "--every", "5m", "--keep-last", "many"], ["set", "web", "--every", "5m", "--keep-last=-1"],
      ["set", "web", "--every", "5m", "--keep-within", "5"], ["set", "web", "--every", "5m", "--max-pause", "long"],
      ["pause"], ["resume"], ["remove"], ["often"],
    ])
  func usage(arguments: [String]) throws {
    #expect(try ckpt(["schedule"] + arguments + ["--store", store.path]).status == 64)
    #expect(content == nil)
  }

  @Test(
    "A guest without a schedule is told so, with those that have one", arguments: ["pause", "resume", "remove", "list"])
  func unknown(verb: String) throws {
    _ = try schedule("set", "db", "--every", "5m")
    let before = content
    let result = try schedule(verb, "web")
    #expect(result.status == 10 && result.output.isEmpty)
    #expect(result.errors == "ckpt: there is no schedule for 'web'; there are schedules for db\n")
    #expect(content == before)
    #expect(try ckpt(["schedule", verb, "web", "--store", "/nowhere"]).status == 10)
  }

  @Test("A file that cannot be read is named with the place, and left as it is")
  func damaged() throws {
    for text in ["", #"{"format": 1, "schedules": [{"guest": "a", "evry": "5m"}]}"#] {
      try Data(text.utf8).write(to: URL(fileURLWithPath: file))
      for arguments in [["list"], ["set", "web", "--every", "5m"], ["pause", "a"], ["remove", "a"]] {
        let result = try ckpt(["schedule"] + arguments + ["--store", store.path])
        #expect(result.status == 12 && result.errors.contains(file) && result.output.isEmpty)
        #expect(result.errors.filter { $0 == "\n" }.count == 1)
        #expect(text.isEmpty || result.errors.contains("schedules[0]: unknown key 'evry'"))
      }
      #expect(content == text)
    }
  }

  @Test("What the service noted of runs is shown")
  func records() throws {
    _ = try schedule("set", "web", "--every", "5m")
    let runs = """
      {"format": 1, "guests": [{"guest": "web", "last_slot": "2026-01-01T00:00:00.000Z",
      "last_start": "2026-01-01T00:00:01.000Z", "last_end": "2026-01-01T00:00:02.000Z", "last_epoch": 41, "runs": 42,
      "failed": 3, "skipped": 2, "missed": 1, "problem": "no room", "prune_problem": "it is locked"}]}
      """
    try Data(runs.utf8).write(to: URL(fileURLWithPath: store.path + "/schedule-runs.json"))
    let shown = try schedule("list", "web")
    #expect(shown.output.contains("failed  all"))
    #expect(
      shown.output.contains("web: last run 2026-01-01T00:00:01.000Z, 42 runs, 3 failed\nweb: 2 skipped, 1 missed\n"))
    #expect(shown.output.contains("web: the last run failed: no room\nweb: the last pruning failed: it is locked\n"))
    // Damage of it is no reason to hide schedules.
    try Data("{".utf8).write(to: URL(fileURLWithPath: store.path + "/schedule-runs.json"))
    let damaged = try schedule("list", "web")
    #expect(damaged.status == 0 && damaged.output.contains("every 5m") && damaged.errors.contains("schedule-runs.json"))
  }
}
