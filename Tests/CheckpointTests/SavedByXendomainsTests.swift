import EpochStore
import Foundation
import MigrationStream
import Testing

@testable import Checkpoint

@Suite("What xendomains saves when the host shuts down")
struct SavedByXendomainsTests {
  /// A root folder of its own, with settings and files.
  private final class Host {
    let root = FileManager.default.temporaryDirectory.path + "/ckpt-xendomains-\(UInt64.random(in: 0...UInt64.max))"

    /// - Parameters:
    ///   - settings: of /etc/default/xendomains; nil when there is no such file.
    ///   - files: whole paths; folders end with a slash.
    init(settings: String?, files: [String]) throws {
      try write("/", nil)
      if let settings { try write("/etc/default/xendomains", settings) }
      for file in files { try write(file, file.hasSuffix("/") ? nil : "saved") }
    }
    deinit { try? FileManager.default.removeItem(atPath: root) }

    /// Writes a file as `xl save` does, of a guest that was called `name` then.
    func save(_ name: String, uuid: String, in file: String) throws {
      let text = """
        {"c_info": {"type": "pvh", "name": "\(name)", "uuid": "\(uuid)"},
         "b_info": {"max_vcpus": 1, "max_memkb": 1024, "target_memkb": 1024}}
        """
      var writer = StreamWriter(MemorySink())
      try writer.writeXLHeader(configJSON: Array(text.utf8))
      try writer.flush()
      try Data(writer.sink.bytes).write(to: URL(fileURLWithPath: root + file))
    }

    private func write(_ path: String, _ text: String?) throws {
      let url = URL(fileURLWithPath: root + path)
      let folder = text == nil ? url : url.deletingLastPathComponent()
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
      if let text { try Data(text.utf8).write(to: url) }
    }

    /// The file's path on that host.
    func saved(_ guest: String, uuid: String = "0", before older: Set<String> = []) -> String? {
      let file = XendomainsSave(root: root).file(of: uuid, called: guest, before: older)
      return file.map { String($0.dropFirst(root.count)) }
    }
  }

  @Test(
    "The folder is the one that a shell finds in the settings",
    arguments: [
      ("XENDOMAINS_SAVE=/var/lib/xen/save\n", "/var/lib/xen/save"), ("XENDOMAINS_SAVE=\"\"\n", ""),
      ("XENDOMAINS_SAVE=\n", ""), ("XENDOMAINS_SAVE= # none\n", ""), ("XENDOMAINS_SAVE='' # none", ""),
      ("# a comment\nXENDOMAINS_SAVE=\"/srv/saved guests\" # why\nXENDOMAINS_AUTO=/x\n", "/srv/saved guests"),
      ("  export XENDOMAINS_SAVE='/srv/a\"b'\r\n", "/srv/a\"b"), ("XENDOMAINS_SAVE=/srv/'x y'\\ z;\n", "/srv/x y z"),
      ("XENDOMAINS_SAVE=/a\nXENDOMAINS_SAVE=/b\n#XENDOMAINS_SAVE=/c\n", "/b"),
      ("#XENDOMAINS_SAVE=/a\nOLD_XENDOMAINS_SAVE=/b\nXENDOMAINS_SAVED=/c\n", ""), ("", ""),
      // What only a shell could work out.
      ("XENDOMAINS_SAVE=\"$HOME/save\"\n", "/var/lib/xen/save"), ("XENDOMAINS_SAVE='/$a'\n", "/$a"),
    ])
  func settings(text: String, folder: String) { #expect(XendomainsSave.folder(in: text) == folder) }

  @Test("A guest's file is a regular one with its name")
  func files() throws {
    let files = ["/srv/save/web", "/srv/save/db/", "/var/lib/xen/save/mail"]
    let host = try Host(settings: "XENDOMAINS_SAVE=/srv/save\n", files: files)
    #expect(host.saved("web") == "/srv/save/web")
    for guest in ["db", "mail", "we", ""] { #expect(host.saved(guest) == nil, "\(guest)") }
    // A guest that is shut down with the host leaves no file that counts.
    #expect(try Host(settings: "XENDOMAINS_SAVE=\"\"\n", files: ["/web", "/var/lib/xen/save/web"]).saved("web") == nil)
  }

  private static let uuid = "11111111-2222-3333-4444-555555555555"

  @Test("A guest that was renamed has its file under the old name, or a newer one: the uuid in it tells")
  func renamed() throws {
    let host = try Host(settings: "XENDOMAINS_SAVE=/srv/save\n", files: ["/srv/save/old"])
    // What xl cannot restore is known by its name alone.
    #expect(host.saved("web", uuid: Self.uuid) == nil)
    #expect(host.saved("web", uuid: Self.uuid, before: ["old", "older"]) == "/srv/save/old")
    try host.save("new", uuid: Self.uuid.uppercased(), in: "/srv/save/new")
    #expect(host.saved("web", uuid: Self.uuid, before: ["old"]) == "/srv/save/new")
    #expect(host.saved("web") == nil)
    // A guest that took the old name is another, unless it has the name of this one now.
    try host.save("old", uuid: "21111111-2222-3333-4444-555555555555", in: "/srv/save/old")
    try FileManager.default.removeItem(atPath: host.root + "/srv/save/new")
    #expect(host.saved("web", uuid: Self.uuid, before: ["old"]) == nil)
    #expect(host.saved("old", uuid: Self.uuid) == "/srv/save/old")
  }

  @Test("A guest that a restore destroyed after it was saved was last what the restore took")
  func outdated() throws {
    let (host, store) = (try Host(settings: nil, files: ["/var/lib/xen/save/web"]), try TemporaryStore())
    let file = host.root + "/var/lib/xen/save/web"
    func setTime(_ seconds: Double) throws {
      let time = Date(timeIntervalSince1970: seconds)
      try FileManager.default.setAttributes([.modificationDate: time], ofItemAtPath: file)
    }
    try setTime(1000)
    #expect(!XendomainsSave.isOutdated(file, in: store.folder))
    // One that found no guest to destroy was cut off before it changed anything.
    let time = EpochTime(milliseconds: 2_000_000)
    _ = try RollbackRecord(Rollback(time: time, epoch: 1, safetyEpoch: nil, destroys: false), in: store.folder)
    #expect(!XendomainsSave.isOutdated(file, in: store.folder))
    let begun = Rollback(time: time, epoch: 1, safetyEpoch: 4)
    var record = try RollbackRecord(begun, in: store.folder)
    #expect(XendomainsSave.isOutdated(file, in: store.folder))
    // It was started anew since, and saved.
    try setTime(3000)
    #expect(!XendomainsSave.isOutdated(file, in: store.folder))
    try setTime(1000)
    try record.end()
    #expect(!XendomainsSave.isOutdated(file, in: store.folder))
  }

  @Test("Without settings it is Debian's folder, if it is there")
  func noSettings() throws {
    #expect(try Host(settings: nil, files: ["/var/lib/xen/save/web"]).saved("web") == "/var/lib/xen/save/web")
    #expect(try Host(settings: nil, files: []).saved("web") == nil)
  }
}
