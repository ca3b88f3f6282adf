import Foundation
import Testing

@testable import Checkpoint

@Suite("What LVM and systemd tell")
struct HostTextTests {
  private let names = ["/dev/mapper/ckpt-web-xvda", "/dev/dm-3"]

  /// As lvmconfig prints them.
  private func scan(_ global: String, _ filter: String = #"["a|.*|"]"#, file: String? = nil) -> LVMScan {
    LVMScan(
      settings: "global_filter=\(global)\nfilter=\(filter)\nuse_devicesfile=\(file == nil ? 0 : 1)\n", devicesFile: file
    )
  }

  @Test(
    "LVM looks into a device that some name admits before another pattern rejects it, and into one that nothing names",
    arguments: [
      (#"["a|.*|"]"#, true), (#"["r|^/dev/mapper/ckpt-|"]"#, false), (#""r|/ckpt-|""#, false),
      // The other name is admitted: lvm.conf warns of that.
      (#"["r|^/dev/mapper/ckpt-|", "a|.*|"]"#, true), (#"["a|^/dev/sd|", "r|.*|"]"#, false),
      (#"["r|^/dev/mapper/ckpt-|", "r|^/dev/dm-|", "a|.*|"]"#, false), (#"["r/ckpt/"]"#, false),
      (#"["a|^/dev/mapper/ckpt|", "r|.*|"]"#, true), ("[]", true), (#"["r|ckpt\\-web|"]"#, false),
      (#"["r|("]"#, true), (#"[""]"#, true),
    ])
  func filters(pattern: String, looks: Bool) {
    #expect(scan(pattern).looksInto(names) == looks)
    #expect(scan(#"["a|.*|"]"#, pattern).looksInto(names) == looks)
  }

  @Test("LVM looks into what its devices file lists, and into nothing else")
  func devicesFile() {
    let line = "IDTYPE=devname IDNAME=/dev/mapper/ckpt-web-xvda DEVNAME=/dev/mapper/ckpt-web-xvda PVID=x"
    #expect(scan("[]", file: "# LVM\nVERSION=1.1.3\n\(line)\n").looksInto(names))
    #expect(!scan("[]", file: "\(line)-old\n".replacing("xvda", with: "xvdb")).looksInto(names))
    #expect(!scan("[]", file: "").looksInto(names))
    // The filters of old do not hold then, the global one does.
    #expect(scan("[]", #"["r|.*|"]"#, file: line).looksInto(names))
    #expect(!scan(#"["r|.*|"]"#, file: line).looksInto(names))
  }

  @Test("Units are read as systemctl shows them")
  func units() {
    let text = """
      Id=ckptd.socket
      LoadState=loaded
      ActiveState=active
      UnitFileState=enabled

      Id=ckptd.service
      LoadState=loaded
      ActiveState=failed
      UnitFileState=disabled

      Id=ckpt-pools.service
      LoadState=not-found
      ActiveState=inactive
      UnitFileState=

      """
    #expect(
      UnitState.all(in: text) == [
        UnitState("ckptd.socket"),
        UnitState("ckptd.service", isEnabled: false, isActive: false, hasFailed: true),
        UnitState("ckpt-pools.service", isInstalled: false, isEnabled: false, isActive: false),
      ])
    #expect(UnitState.all(in: "") == [])
  }

  @Test("Files that others can read are counted, at any depth")
  func exposed() throws {
    let folder = FileManager.default.temporaryDirectory.path + "/ckpt-doctor-\(UInt64.random(in: 0...UInt64.max))"
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let private700: [FileAttributeKey: Any] = [.posixPermissions: 0o700]
    try FileManager.default.createDirectory(
      atPath: folder + "/a", withIntermediateDirectories: true, attributes: private700)
    for (name, mode) in [("a/secret", 0o600), ("a/open", 0o640), ("b", 0o644)] {
      _ = FileManager.default.createFile(
        atPath: "\(folder)/\(name)", contents: nil, attributes: [.posixPermissions: mode])
    }
    #expect(HostFiles.exposed(below: folder) == 2)
    #expect(HostFiles.exposed(below: folder + "/none") == 0)
  }
}
