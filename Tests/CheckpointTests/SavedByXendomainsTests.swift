import Foundation
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

    private func write(_ path: String, _ text: String?) throws {
      let url = URL(fileURLWithPath: root + path)
      let folder = text == nil ? url : url.deletingLastPathComponent()
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
      if let text { try Data(text.utf8).write(to: url) }
    }

    /// The file's path on that host.
    func saved(_ guest: String) -> String? {
      XendomainsSave(root: root).file(of: guest).map { String($0.dropFirst(root.count)) }
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

  @Test("Without settings it is Debian's folder, if it is there")
  func noSettings() throws {
    #expect(try Host(settings: nil, files: ["/var/lib/xen/save/web"]).saved("web") == "/var/lib/xen/save/web")
    #expect(try Host(settings: nil, files: []).saved("web") == nil)
  }
}
