import ArgumentParser
import Foundation
import Testing

@testable import Checkpoint
@testable import ckpt

@Suite("What messages tell to run")
struct NamedCommandTests {
  private static let uuid = "11111111-2222-3333-4444-555555555555"

  @Test(
    "is a command, with all that it wants",
    arguments: [
      ("\(PoolError.unknown(pool: "p"))", "ckpt pool show"),
      ("\(PoolError.noDefault(pools: []))", "ckpt pool create --vg GROUP --size 20%"),
      ("\(DiskError.noSuchEpoch(guest: "web", epoch: 1))", "ckpt remove web 1"),
      ("\(PoolError.beingRemoved(pool: "p"))", "ckpt pool remove p"),
      ("\(PoolError.deviceTaken(device: "ckpt-web-xvda", why: "w"))", "ckpt pool start"),
      (
        "\(PoolError.exhausted(pool: "p"))",
        "ckpt disk create NEWNAME VDEV --from /dev/mapper/ckpt-GUEST-VDEV --pool NEW"
      ),
      ("\(PoolError.exhausted(pool: "p"))", "ckpt adopt GUEST --pool NEW"),
      ("\(DiskError.tableDiffers(device: "ckpt-web-xvda", found: "f", expected: "e"))", "ckpt pool start"),
      (
        "\(DiskError.lost(device: "ckpt-web-xvda", pool: "p", guest: "web", vdev: "xvda", isAdopted: false))",
        "ckpt disk remove web xvda"
      ),
      (
        "\(DiskError.lost(device: "ckpt-web-xvda", pool: "p", guest: "web", vdev: "xvda", isAdopted: true))",
        "ckpt release web xvda --discard"
      ),
      (
        "\(DiskSourceError.ownName(path: "/dev/x", guest: "web", vdev: "xvda", pool: "p"))",
        "ckpt disk create web-2 xvda --from /dev/x --pool p"
      ),
      (
        "\(AdoptionError.epochInUse(guest: "web", vdev: "xvda", device: "/dev/x", uuid: uuid, epoch: 3))",
        "ckpt umount \(uuid) 3 xvda"
      ),
      ("\(ViewError.exists(guest: "web", vdev: "xvda", epoch: 3, device: "/dev/x"))", "ckpt umount web 3 xvda"),
      ("\(ViewError.epochsMounted(guest: "web", epochs: [3]))", "ckpt umount --all"),
      (
        "\(CheckpointError.restoreFailed(guest: "web", epoch: 1, message: "m", safetyEpoch: 2, disks: nil))",
        "ckpt undo web"
      ),
      (
        "\(DiskError.notInPool(guest: "web", vdev: "xvda", path: "/dev/x"))",
        "ckpt disk create web xvda --from /dev/x"
      ),
      (
        "\(AdoptionError.notAdoptable(guest: "web", vdev: "xvda", path: "aio:/srv/web.img", .noBlockBackend))",
        "ckpt disk create web xvda --from /srv/web.img"
      ),
    ] as [(String, String)])
  func parses(message: String, command: String) throws {
    #expect(message.contains(command))
    _ = try Ckpt.parseAsRoot(command.split(separator: " ").dropFirst().map(String.init))
  }

  @Test("is in the help, wherever it stands in the sources")
  func known() throws {
    let help = try JSONDecoder().decode(Help.self, from: Data(ckpt(["--experimental-dump-help"]).output.utf8)).command
    let checkout = URL(filePath: #filePath).appending(path: "../../..").standardized
    var found = 0
    for folder in ["Sources", "Tools/ckpt", "Daemon"] {
      let files = FileManager.default.enumerator(at: checkout.appending(path: folder), includingPropertiesForKeys: nil)
      while let file = files?.nextObject() as? URL {
        guard file.pathExtension == "swift" else { continue }
        for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") {
          guard line.contains("\""), !line.trimmingPrefix(while: \.isWhitespace).hasPrefix("//") else { continue }
          for match in line.matches(of: #/\bckpt ([a-z]+)(?: ([a-z]+))?/#) where !Self.prose.contains(match.1) {
            found += 1
            #expect(help.has(match.1, match.2), "\(match.0) in \(file.lastPathComponent)")
          }
        }
      }
    }
    #expect(found > 40)
  }

  /// Words that follow the program's name and are none of its commands.
  private static let prose: Set<Substring> = ["was", "in", "that", "reads"]
}

private struct Help: Decodable {
  struct Command: Decodable {
    let commandName: String
    let subcommands: [Command]?

    func has(_ name: Substring, _ next: Substring?) -> Bool {
      guard let command = subcommands?.first(where: { $0.commandName == name }) else { return false }
      guard let below = command.subcommands else { return true }
      return below.contains { $0.commandName == next ?? "" }
    }
  }
  let command: Command
}
