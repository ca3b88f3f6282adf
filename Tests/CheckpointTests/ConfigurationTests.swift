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
    ])
  func faults(text: String, line: Int, words: String) {
    #expect { try Configuration(text: text, path: "ckpt.conf") } throws: { error in
      guard let fault = error as? Configuration.Fault else { return false }
      return fault.line == line && fault.description.hasPrefix("ckpt.conf:\(line): ") && fault.what.contains(words)
    }
  }

  @Test("that is missing is an error where it was asked for")
  func missing() {
    #expect { try Configuration(path: "/nowhere/ckpt.conf") } throws: {
      "\($0)" == "/nowhere/ckpt.conf: No such file or directory; name the right file with --config"
    }
  }
}
