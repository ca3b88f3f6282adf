import EpochStore
import Foundation
import Testing

@testable import Checkpoint

/// Small programs in a folder of their own; each may leave its words in the file `said` there.
final class HookFolder {
  let path = FileManager.default.temporaryDirectory.path + "/ckpt-hooks-\(UInt64.random(in: 0...UInt64.max))"

  init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false) }
  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// - Parameter script: lines of shell, in which `$said` is the file.
  func program(_ name: String, _ script: String, mode: Int = 0o700) throws -> HookProgram {
    let file = "\(path)/\(name)"
    try Data("#!/bin/sh\nsaid=\(path)/said\n\(script)\n".utf8).write(to: URL(fileURLWithPath: "\(file).text"))
    // Written by a process of its own: a child that another test forks meanwhile would hold our descriptor for a moment, and a file that is
    // open for writing cannot be run.
    try Process.run(URL(fileURLWithPath: "/bin/cp"), arguments: ["\(file).text", file]).waitUntilExit()
    try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: file)
    return try HookProgram(file)
  }

  var said: [String] {
    let text = (try? String(contentsOfFile: "\(path)/said", encoding: .utf8)) ?? ""
    return text.split(separator: "\n").map(String.init)
  }
}

@Suite("Hooks")
struct HookTests {
  private let journal = Journal()
  private let folder: HookFolder
  private let temporary: TemporaryStore
  private let notes = Journal()

  init() throws {
    folder = try HookFolder()
    temporary = try TemporaryStore()
  }

  private func take(
    _ settings: HookSettings, fault: ScriptedGuest.Fault? = nil, cancellation: TakeCancellation = TakeCancellation(),
    prepare: (ScriptedGuest) -> Void = { _ in }
  ) throws -> EpochManifest {
    let guest = ScriptedGuest(pages: [1: page(1)], journal: journal)
    guest.fault = fault
    prepare(guest)
    let hooks = TakeHooks(settings, guest: "web", uuid: guest.identity.uuid, domain: 7, store: temporary.path)
    defer { #expect(guest.condition == .running) }
    return try Take(
      guest, disks: ScriptedDisks(journal: journal), into: temporary.folder, hooks: hooks, cancellation: cancellation,
      report: { event in if case .note(let text) = event { notes.note(text) } }
    ).run()
  }

  @Test("run before, in and after the pause, in this order, and are told what they work for")
  func order() throws {
    let tell = #"echo "$CKPT_HOOK $CKPT_PHASE $CKPT_GUEST $CKPT_DOMID $CKPT_EPOCH $CKPT_UUID $CKPT_STORE" >>"$said""#
    var settings = HookSettings()
    settings.before = try folder.program("before", tell)
    settings.pause = try folder.program("pause", tell)
    settings.after = try folder.program("after", tell)
    settings.failed = try folder.program("failed", tell)
    settings.pauseSeconds = 30
    let manifest = try take(settings)
    let rest = "web 7 1 11111111-2222-3333-4444-555555555555 \(temporary.path)"
    #expect(folder.said == ["before reserve \(rest)", "pause copy \(rest)", "after write \(rest)"])
    #expect(try #require(manifest.statistics).notes == [])
  }

  @Test("have nothing of our environment, and no descriptor of ours")
  func environment() throws {
    var settings = HookSettings()
    settings.before = try folder.program(
      "before", #"{ env | grep -v ^CKPT_ | cut -d= -f1; readlink /proc/$$/fd/* | sed 's/:.*//'; } >>"$said""#)
    _ = try take(settings)
    let known = [
      "PATH", "PWD", "_", "SHLVL", "OLDPWD", "/dev/null", "pipe", "\(folder.path)/before", "\(folder.path)/said",
    ]
    #expect(folder.said.filter { !known.contains($0) } == [])
    #expect(folder.said.contains("PATH") && folder.said.contains("pipe"))
  }

  @Test("A hook before the guest is touched that fails stops the take: its last words are told, nothing was touched")
  func beforeFails() throws {
    var settings = HookSettings()
    let program = try folder.program(
      "before", "for i in 1 2 3 4 5; do echo line $i; done; printf 'a\\033[2Jb\\n' >&2; exit 9")
    settings.before = program
    settings.failed = try folder.program("failed", #"echo "$CKPT_PHASE: $CKPT_ERROR" >"$said""#)
    let failure = HookError.failed(
      hook: "hook-before", path: program.path, status: 9, said: "line 4; line 5; a\\u{1b}[2Jb")
    #expect(throws: failure) { try take(settings) }
    #expect(!journal.events.contains("arm") && !journal.events.contains("reserve"))
    #expect(folder.said == ["reserve: \(failure)"])
    #expect(temporary.files.isEmpty)
  }

  @Test("that hang before the guest is touched are killed with their children, and stop the take")
  func beforeHangs() throws {
    var settings = HookSettings()
    // The child holds the output open as well.
    settings.before = try folder.program("before", #"echo began; sleep 600 & echo $! >"$said"; wait"#)
    settings.seconds = 0.3
    #expect { try take(settings) } throws: {
      guard case HookError.late(_, _, 0.3, "began") = $0 else { return false }
      return true
    }
    #expect(!journal.events.contains("arm"))
    let child = try #require(folder.said.first.flatMap { pid_t($0) })
    while kill(child, 0) == 0, isNoZombie(child) { usleep(1000) }
  }

  /// Whoever adopts orphans may take its time to collect them.
  private func isNoZombie(_ pid: pid_t) -> Bool {
    let status = (try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)) ?? ""
    return !status.isEmpty && !status.contains(") Z")
  }

  @Test("A take that is told to stop ends its hook, and stops")
  func cancelled() throws {
    var settings = HookSettings()
    settings.before = try folder.program("before", "sleep 600")
    settings.seconds = 600
    let cancellation = TakeCancellation()
    DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(50)) { cancellation.cancel() }
    #expect(throws: CheckpointError.interrupted) { try take(settings, cancellation: cancellation) }
    #expect(!journal.events.contains("arm"))
  }

  @Test("A hook in the pause begins when the guest is held, and it is waited for")
  func inPause() throws {
    var settings = HookSettings()
    settings.pause = try folder.program("pause", #"sleep 0.05; echo held >>"$said""#)
    settings.pauseSeconds = 60
    let (folder, seen) = (folder, Journal())
    _ = try take(settings) { guest in
      guest.whileSuspending = { _ in
        // Time to begin too early.
        usleep(100_000)
        seen.note(folder.said.joined())
      }
      guest.afterResume = { _ in seen.note(folder.said.joined()) }
    }
    #expect(seen.events == ["", "held"])
  }

  @Test("A hook in the pause that is late is killed, the guest runs, the epoch is published and tells")
  func pauseIsLate() throws {
    var settings = HookSettings()
    let program = try folder.program("pause", #"echo soon; sleep 600; echo late >"$said""#)
    settings.pause = program
    settings.pauseSeconds = 0.2
    let manifest = try take(settings)
    let note = "\(HookError.late(hook: "hook-pause", path: program.path, seconds: 0.2, said: "soon"))"
    #expect(try #require(manifest.statistics).notes == [note])
    #expect(notes.events == [note])
    #expect(folder.said.isEmpty)
    #expect(try pages(of: manifest.epoch, in: temporary.folder) == [1: page(1)])
  }

  @Test(
    "A hook in or after the pause that fails, or cannot be run, is told in the epoch", arguments: ["pause", "after"])
  func reported(which: String) throws {
    for (script, mode) in [("echo sorry; exit 3", 0o700), ("exit 3", 0o600)] {
      var settings = HookSettings()
      let program = try folder.program(which, script)
      if which == "pause" { settings.pause = program } else { settings.after = program }
      settings.pauseSeconds = 60
      // It changed after the configuration was read.
      try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: program.path)
      let told = try #require(try take(settings).statistics).notes
      let words = mode == 0o700 ? "hook-\(which) \(program.path) failed with status 3: sorry" : "it is not executable"
      #expect(told.count == 1 && told.allSatisfy { $0.contains(words) }, "\(told)")
    }
  }

  @Test("A hook that prints without end neither blocks nor fills the memory")
  func chatty() throws {
    var settings = HookSettings()
    settings.before = try folder.program(
      "before", "i=0; while [ $i -lt 20000 ]; do echo 0123456789 $i; i=$((i + 1)); done; exit 1")
    #expect { try take(settings) } throws: {
      guard case HookError.failed(_, _, 1, let said) = $0 else { return false }
      return said == "0123456789 19997; 0123456789 19998; 0123456789 19999"
    }
  }

  @Test(
    "The hook for failures is told the phase and the error; when it fails as well, the take's own error is thrown",
    arguments: [(ScriptedGuest.Fault.arm, "arm"), (.request, "request"), (.awaitSuspended, "freeze"), (.state, "copy")])
  func failures(fault: ScriptedGuest.Fault, phase: String) throws {
    var settings = HookSettings()
    settings.failed = try folder.program("failed", #"echo "$CKPT_PHASE $CKPT_EPOCH $CKPT_ERROR" >>"$said"; exit 1"#)
    settings.after = try folder.program("after", #"echo after >>"$said""#)
    #expect(throws: fault) { try take(settings, fault: fault) }
    // The guest was held for the last one, and ran again.
    #expect(folder.said == (fault == .state ? ["after"] : []) + ["\(phase) 1 \(fault)"])
    #expect(notes.events.count == 1)
  }

  @Test("A program that is gone when a take wants it stops that take before, and is left out and told later")
  func gone() throws {
    var settings = HookSettings()
    let missing = HookProgram(unchecked: "/nowhere/x")
    (settings.pause, settings.after) = (missing, missing)
    #expect(try take(settings).epoch == 1)
    #expect(notes.events.count == 2 && notes.events.allSatisfy { $0.contains("/nowhere/x cannot be a hook: No such") })
    settings.before = missing
    #expect { try take(settings) } throws: {
      guard case HookError.refused("/nowhere/x", _) = $0 else { return false }
      return true
    }
  }

  @Test("A take that another one keeps out runs no hook")
  func locked() throws {
    let lock = try temporary.folder.lock(.exclusive)
    var settings = HookSettings()
    for key in [\HookSettings.before, \.failed] {
      settings[keyPath: key] = try folder.program("any", #"echo ran >"$said""#)
    }
    #expect(throws: StoreError.self) { try take(settings) }
    #expect(folder.said.isEmpty)
    withExtendedLifetime(lock) {}
  }

  @Test(
    "Programs that others could have written, or that are none, are refused",
    arguments: [("bin/x", "whole path"), ("/nowhere/x", "No such file"), ("/tmp", "not a regular file")])
  func refused(path: String, why: String) {
    #expect { try HookProgram(path) } throws: { "\($0)".contains(why) && "\($0)".hasPrefix("\(path) cannot be a hook") }
  }

  @Test("So are those of a mode or an owner that is not safe, and links")
  func modes() throws {
    for (mode, why) in [(0o722, "others than its owner"), (0o770, "others than its owner"), (0o600, "not executable")] {
      #expect { try folder.program("x", "", mode: mode) } throws: { "\($0)".contains(why) }
    }
    try FileManager.default.createSymbolicLink(atPath: "\(folder.path)/link", withDestinationPath: "/bin/true")
    #expect(throws: HookError.self) { try HookProgram("\(folder.path)/link") }
    if geteuid() == 0 {
      let program = try folder.program("y", "")
      #expect(chown(program.path, 65534, 65534) == 0)
      #expect { try HookProgram(program.path) } throws: { "\($0)".contains("belongs to user 65534") }
    }
  }
}
