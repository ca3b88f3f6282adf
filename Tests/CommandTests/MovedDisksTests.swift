import ArgumentParser
import Foundation
import Testing

@testable import Checkpoint
@testable import ckpt

@Suite("Disks that were adopted or released, and the guest's configuration")
final class MovedDisksTests {
  private let path = FileManager.default.temporaryDirectory.path + "/ckpt-cfg-\(UInt64.random(in: 0...UInt64.max))"
  private let uuid = "1ab0ad09-0000-4000-8000-000000000001"
  private let paths = [(old: "/dev/vg0/web", new: "/dev/mapper/ckpt-web-xvda")]

  deinit { try? FileManager.default.removeItem(atPath: path) }

  private func options(_ words: String...) throws -> XLFileOptions { try XLFileOptions.parse(words) }
  private func write(_ text: String) throws { try Data(text.utf8).write(to: URL(filePath: path)) }

  @Test("Its lines are shown, and changed when it was said")
  func lines() throws {
    try write("disk = [ 'phy:/dev/vg0/web,xvda,w' ]\r\n")
    let shown = try options("--config", path).rename(paths, guest: "web")
    let line = "disk = [ 'phy:/dev/mapper/ckpt-web-xvda,xvda,w' ]"
    #expect(!shown.isWritten && shown.lines == ["\(path):1: write instead: \(line)"] && shown.notes == [])
    let written = try options("--config", path, "--write-config").rename(paths, guest: "web")
    #expect(written.isWritten && written.lines == ["\(path):1: is now: \(line)"])
    #expect(try String(contentsOfFile: path, encoding: .utf8) == line + "\r\n")
    let again = try options("--config", path, "--write-config").rename(paths, guest: "web")
    #expect(!again.isWritten && again.notes == ["\(path) names none of /dev/vg0/web; it was not changed"])
  }

  @Test("One that is not there is said to be missing, and what to write")
  func missing() throws {
    let outcome = try options("--write-config").rename(paths, guest: "no-such-guest")
    #expect(
      outcome.notes == ["there is no /etc/xen/no-such-guest.cfg; name the guest's xl configuration with --config"])
    #expect(outcome.lines.first?.hasSuffix("write /dev/mapper/ckpt-web-xvda in place of /dev/vg0/web") == true)
    #expect(try options().rename(paths, guest: "no-such-guest").notes == [])
    let adopted = try options().rename(paths, guest: "no-such-guest", uuid: uuid)
    #expect(adopted.lines.count == 2 && adopted.lines[1].hasSuffix(": uuid = \"\(uuid)\""))
  }

  @Test("The guest's uuid is shown where it has none, and added when it was said")
  func noUUID() throws {
    let text = "# uuid = \"x\"\nname = \"web\"\ndisk = [ 'phy:/dev/vg0/web,xvda,w' ]\n"
    try write(text)
    let shown = try options("--config", path).rename(paths, guest: "web", uuid: uuid)
    let starts = shown.lines.map { String($0.prefix(path.count + 7)) }
    #expect(starts == ["\(path):3: wri", "\(path):4: add"])
    #expect(try String(contentsOfFile: path, encoding: .utf8) == text)
    let written = try options("--config", path, "--write-config").rename(paths, guest: "web", uuid: uuid)
    #expect(written.isWritten && written.lines.last == "\(path):4: is now: uuid = \"\(uuid)\"")
    let new = text.replacing("/dev/vg0/web", with: "/dev/mapper/ckpt-web-xvda") + "uuid = \"\(uuid)\"\n"
    #expect(try String(contentsOfFile: path, encoding: .utf8) == new)
    let again = try options("--config", path, "--write-config").rename(paths, guest: "web", uuid: uuid)
    #expect(!again.isWritten && again.notes == ["\(path) names none of /dev/vg0/web; it was not changed"])
    // The paths were written by hand before.
    try write("disk = [ 'phy:/dev/mapper/ckpt-web-xvda,xvda,w' ]\n")
    let added = try options("--config", path, "--write-config").rename(paths, guest: "web", uuid: uuid)
    #expect(added.isWritten && added.notes == ["\(path) names none of /dev/vg0/web"])
    #expect(added.lines.last == "\(path):2: is now: uuid = \"\(uuid)\"")
    // The file of another guest.
    let other = "name = \"db\"\ndisk = [ 'phy:/dev/vg0/db,xvda,w' ]\n"
    try write(other)
    let untouched = try options("--config", path, "--write-config").rename(paths, guest: "web", uuid: uuid)
    #expect(!untouched.isWritten && untouched.notes == ["\(path) names none of /dev/vg0/web; it was not changed"])
    #expect(untouched.lines.last?.hasSuffix("uuid = \"\(uuid)\"") == true)
    #expect(try String(contentsOfFile: path, encoding: .utf8) == other)
  }

  @Test("Another uuid is left alone and told of, the same in other letters is not")
  func otherUUID() throws {
    let text = "uuid = '22222222-2222-3333-4444-555555555555'\ndisk = [ 'phy:/dev/vg0/web,xvda,w' ]\n"
    try write(text)
    let written = try options("--config", path, "--write-config").rename(paths, guest: "web", uuid: uuid)
    #expect(written.isWritten && written.lines.count == 1)
    #expect(written.notes.count == 1 && written.notes[0].contains("has uuid 22222222-"))
    #expect(try String(contentsOfFile: path, encoding: .utf8).hasPrefix("uuid = '22222222-"))
    try write("uuid = \"\(uuid.uppercased())\"\ndisk = [ 'phy:/dev/vg0/web,xvda,w' ]\n")
    let same = try options("--config", path).rename(paths, guest: "web", uuid: uuid)
    #expect(same.lines.count == 1 && same.notes == [])
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
