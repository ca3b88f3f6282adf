import ArgumentParser
import Foundation
import Testing

@testable import Checkpoint
@testable import ckpt

@Suite("Disks that were adopted or released, and the guest's configuration")
final class MovedDisksTests {
  private let path = FileManager.default.temporaryDirectory.path + "/ckpt-cfg-\(UInt64.random(in: 0...UInt64.max))"
  private let paths = [(old: "/dev/vg0/web", new: "/dev/mapper/ckpt-web-xvda")]

  deinit { try? FileManager.default.removeItem(atPath: path) }

  private func options(_ words: String...) throws -> XLFileOptions { try XLFileOptions.parse(words) }
  private func write(_ text: String) throws { try Data(text.utf8).write(to: URL(filePath: path)) }

  @Test("Its lines are shown, and changed when it was said")
  func lines() throws {
    try write("disk = [ 'phy:/dev/vg0/web,xvda,w' ]\r\n")
    let shown = try options("--config", path).rename(paths, guest: "web")
    let line = "disk = [ 'phy:/dev/mapper/ckpt-web-xvda,xvda,w' ]"
    #expect(!shown.isWritten && shown.lines == ["\(path):1: write instead: \(line)"] && shown.note == nil)
    let written = try options("--config", path, "--write-config").rename(paths, guest: "web")
    #expect(written.isWritten && written.lines == ["\(path):1: is now: \(line)"])
    #expect(try String(contentsOfFile: path, encoding: .utf8) == line + "\r\n")
    let again = try options("--config", path, "--write-config").rename(paths, guest: "web")
    #expect(!again.isWritten && again.note == "\(path) names none of /dev/vg0/web; it was not changed")
  }

  @Test("One that is not there is said to be missing, and what to write")
  func missing() throws {
    let outcome = try options("--write-config").rename(paths, guest: "no-such-guest")
    #expect(
      outcome.note == "there is no /etc/xen/no-such-guest.cfg; name the guest's xl configuration with --config")
    #expect(outcome.lines.first?.hasSuffix("write /dev/mapper/ckpt-web-xvda in place of /dev/vg0/web") == true)
    #expect(try options().rename(paths, guest: "no-such-guest").note == nil)
  }

  @Test("One that cannot be written is a failure that still says what to write")
  func unwritable() throws {
    // A text that names a path, in a folder where nobody can make a file.
    let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let outcome = try options("--config", "/proc/self/maps", "--write-config").rename(
      [(old: program, new: "/dev/mapper/ckpt-web-xvda")], guest: "web")
    #expect(!outcome.isWritten && outcome.failure is PoolError)
    #expect(outcome.lines.first?.contains(": write instead: ") == true)
  }

  @Test("What failed after a disk was moved is told last, with the status of what is partly done")
  func partly() throws {
    let some = MovedDisks(guest: "web", disks: ["xvda"], configurationWritten: false)
    let file = XLFileOptions.Outcome(lines: [], failure: PoolError.unknown(pool: "p"))
    try some.tell([], .init(lines: []), failure: nil, json: false)
    let error = #expect(throws: PartlyDone.self) {
      try some.tell([], file, failure: AdoptionError.noDisks(guest: "web"), json: false)
    }
    #expect(error?.exitStatus == .partlyDone)
    #expect(error?.description.hasPrefix("guest web has no writable disk; pool p:") == true)
    let none = MovedDisks(guest: "web", disks: [String](), configurationWritten: false)
    #expect(throws: PoolError.self) { try none.tell([], file, failure: nil, json: true) }
  }
}
