import Glibc

/// libxl saves and migrates guests in a process of its own, `libxl-save-helper`, which reads the domain's log of dirty pages and
/// switches it as it likes. Xen does not tell whose log it is; that process is the only sign.
enum SaveHelper {
  /// Whether one saves this domain now.
  static func saves(_ domain: UInt32) -> Bool {
    guard let processes = opendir("/proc") else { return false }
    defer { closedir(processes) }
    while let entry = readdir(processes) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if Int32(name) != nil, isOne(commandLine(of: name), saving: domain) { return true }
    }
    return false
  }

  /// As libxl starts it: program, `--save-domain`, two descriptors, the domain, and more (libxl_save_callout.c).
  static func isOne(_ words: [String], saving domain: UInt32) -> Bool {
    words.count > 4 && words[0].hasSuffix("libxl-save-helper") && words[1] == "--save-domain"
      && words[4] == String(domain)
  }

  /// The first words of a process's command line; none when it is gone, or a kernel thread (proc(5)).
  private static func commandLine(of process: String) -> [String] {
    let file = open("/proc/\(process)/cmdline", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return [] }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 512)
    let count = read(file, &bytes, bytes.count)
    return bytes.prefix(max(0, count)).split(separator: 0, omittingEmptySubsequences: false)
      .map { String(decoding: $0, as: UTF8.self) }
  }
}

extension Domain {
  /// Whether libxl saves or migrates the domain right now.
  public var isBeingSaved: Bool { SaveHelper.saves(id) }
}
