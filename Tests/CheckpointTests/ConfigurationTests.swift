import EpochStore
import Foundation
import Testing

@testable import Checkpoint

@Suite("The configuration file")
struct ConfigurationTests {
  @Test("gives a guest its own section over the general part")
  func sections() throws {
    let configuration = try Configuration(
      text: """
        # for all
        tracking = continuous
        staging = 64M   # bytes
        [guest web 1]
        tracking = per-take
        staging-full = abort
        max-pause = 0.5
        [guest db]
        precopy-small = 10
        limit-rate = 50M
        """, path: "c")
    var web = TakeOptions()
    web.tracking = .perTake
    web.stagingBytes = 64 << 20
    web.staging = .abort
    web.mostPauseSeconds = 0.5
    #expect(configuration.options(for: "web 1") == web)
    var db = TakeOptions()
    db.tracking = .continuous
    db.stagingBytes = 64 << 20
    db.precopy.smallPages = 10
    db.bytesPerSecond = 50 << 20
    #expect(configuration.options(for: "db") == db)
    #expect(Configuration().options(for: "any") == TakeOptions())
  }

  @Test(
    "names the line of what it does not understand",
    arguments: [
      ("tracking = often", 1, "tracking = often: want continuous, per-take, auto"),
      ("\n\nspeed = 9", 3, "unknown key 'speed'"),
      ("tracking", 1, "'tracking' is no setting"),
      ("[host x]", 1, "'[host x]' is no section"),
      ("[guest web]\nmax-pause = 0", 2, "max-pause = 0: want seconds"),
      ("staging = 5", 1, "staging = 5: want a size"),
      ("precopy-shrink = nan", 1, "want a share"),
      ("quota = 0", 1, "quota = 0: want a size"),
      ("quota = 1025T", 1, "quota = 1025T: want a size"),
      ("[guest web]\nstore-quota = 1G", 2, "store-quota is for the whole store"),
      ("[guest web]\nhost-reserve = 1G", 2, "host-reserve is for the whole store"),
      ("pool-watermark = 101", 1, "want per cent, 1.0 to 100.0"),
      ("keep-daily = -1", 1, "want a number of epochs"),
      ("keep-within = 5", 1, "want a length of time"),
      ("keep-tag = a/b", 1, "want tags"),
      ("hook-timeout = 0", 1, "hook-timeout = 0: want seconds"),
      ("hook-pause-deadline = 11", 1, "want seconds, 0.001 to 10"),
      ("\nhook-before = freeze.sh", 2, "hook-before: freeze.sh cannot be a hook: name it by its whole path"),
    ])
  func faults(text: String, line: Int, words: String) {
    #expect { try Configuration(text: text, path: "ckpt.conf") } throws: { error in
      guard let fault = error as? Configuration.Fault else { return false }
      return fault.line == line && fault.description.hasPrefix("ckpt.conf:\(line): ") && fault.what.contains(words)
    }
  }

  @Test("may name programs that cannot be run: who checks it is told, who reads it for work is not kept from it")
  func missingPrograms() throws {
    let path = try HookFolder().path + ".conf"
    defer { try? FileManager.default.removeItem(atPath: path) }
    let text = "hook-failed = /tmp\nspeed = 9\n[guest web]\nhook-pause = /nowhere/x\n"
    try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    let faults = Configuration.faults(path: path)
    #expect(faults.map(\.line) == [1, 2, 4])
    #expect(faults[0].what == "hook-failed: /tmp cannot be a hook: it is not a regular file")
    #expect(faults[2].what == "hook-pause: /nowhere/x cannot be a hook: No such file or directory")
    #expect { try Configuration(path: path) } throws: { ($0 as? Configuration.Fault)?.line == 2 }
    try Data(text.replacing("speed = 9", with: "").utf8).write(to: URL(fileURLWithPath: path))
    #expect(try Configuration(path: path).options(for: "web").hooks.pause?.path == "/nowhere/x")
    #expect(try Configuration(path: path).sectionNames == ["web"])
  }

  @Test("names programs, which a guest's section can take back")
  func hooks() throws {
    let folder = try HookFolder()
    let (one, two) = (try folder.program("one", ""), try folder.program("two", ""))
    let configuration = try Configuration(
      text: """
        hook-before = \(one.path)
        hook-after = \(one.path)
        hook-timeout = 5
        [guest web]
        hook-before = none
        hook-pause = \(two.path)
        hook-pause-deadline = 0.05
        """, path: "c")
    var db = HookSettings()
    (db.before, db.after, db.seconds) = (one, one, 5)
    #expect(configuration.options(for: "db").hooks == db)
    var web = db
    (web.before, web.pause, web.pauseSeconds) = (nil, two, 0.05)
    #expect(configuration.options(for: "web").hooks == web)
  }

  @Test("counts how many epochs of a guest there will be: a new pool's metadata have room for them")
  func kept() throws {
    let text = "keep-last = 5\nkeep-daily = 7\n[guest db]\nkeep-hourly = 100\n[guest web]\nkeep-last = 1\n"
    #expect(try Configuration(text: text, path: "c").keptEpochs == 112)
    #expect(Configuration().keptEpochs == 0)
  }

  @Test("limits the room, and says which epochs may go for it")
  func space() throws {
    let configuration = try Configuration(
      text: """
        store-quota = 100G
        host-reserve = 2G
        quota = 10G
        keep-last = 12
        [guest web]
        quota = 20G
        pool-watermark = 80
        keep-last = 3
        keep-hourly = 24
        keep-within = 2d12h
        keep-tag = release  milestone
        """, path: "c")
    var db = SpaceLimits()
    (db.quota, db.storeQuota, db.hostReserve) = (10 << 30, 100 << 30, 2 << 30)
    #expect(configuration.options(for: "db").space == db)
    #expect(configuration.options(for: "db").retention.last == 12)
    var web = db
    (web.quota, web.poolWatermark) = (20 << 30, 80)
    #expect(configuration.options(for: "web").space == web)
    var policy = RetentionPolicy()
    (policy.last, policy.hourly, policy.within) = (3, 24, RetentionSpan("2d12h"))
    policy.tags = ["release", "milestone"]
    #expect(configuration.options(for: "web").retention == policy)
  }

  @Test("may have lines as Windows ends them")
  func windows() throws {
    let text = "# for all\r\ntracking = per-take\r\n\r\n[guest web]\r\nmax-pause = 0.5\r\n"
    var options = TakeOptions()
    options.tracking = .perTake
    #expect(try Configuration(text: text, path: "c").options(for: "db") == options)
    options.mostPauseSeconds = 0.5
    #expect(try Configuration(text: text, path: "c").options(for: "web") == options)
    #expect { try Configuration(text: text + "speed = 9\r\n", path: "c") } throws: {
      ($0 as? Configuration.Fault)?.line == 6
    }
  }

  @Test("that cannot be read is an error, not an empty one")
  func unreadable() {
    #expect { try Configuration(path: "/tmp") } throws: {
      "\($0)" == "/tmp: Is a directory; name the right file, or set CKPT_CONFIG"
    }
    #expect(Configuration.faults(path: "/tmp").count == 1)
  }

  @Test("that is missing is an error where it was asked for")
  func missing() {
    #expect { try Configuration(path: "/nowhere/ckpt.conf") } throws: {
      "\($0)" == "/nowhere/ckpt.conf: No such file or directory; name the right file, or set CKPT_CONFIG"
    }
  }
}
