import Glibc

/// What the files of a host tell.
enum HostFiles {
  /// A small file's text; empty when it cannot be read.
  static func text(_ path: String) -> String {
    guard let file = fopen(path, "re") else { return "" }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = fread(&chunk, 1, chunk.count, file)
      guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
      bytes += chunk[..<count]
    }
  }

  /// Like `4.17.5`; nil without Xen.
  static var xenVersion: String? {
    func part(_ name: String) -> String { String(text("/sys/hypervisor/\(name)").prefix { $0 != "\n" }) }
    guard part("type") == "xen" else { return nil }
    return "\(part("version/major")).\(part("version/minor"))\(part("version/extra"))"
  }

  /// Also where root's programs are, which others do not have on their path.
  static func hasProgram(_ name: String) -> Bool {
    let path = (getenv("PATH").map { String(cString: $0) } ?? "") + ":/usr/sbin:/sbin"
    return path.split(separator: ":").contains { access("\($0)/\(name)", X_OK) == 0 }
  }

  /// Whether the running kernel has the module, built in or to be loaded.
  static func hasModule(_ name: String) -> Bool {
    var system = utsname()
    uname(&system)
    let release = withUnsafeBytes(of: system.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    return ["modules.dep", "modules.builtin"].contains { file in
      text("/lib/modules/\(release)/\(file)").contains("/\(name).ko")
    }
  }

  /// File names of those libraries of this process that Xen, device-mapper and the store's format need.
  static var loadedLibraries: [String] {
    let wanted = ["libxen", "libdevmapper", "liblz4", "libxxhash"]
    let names = text("/proc/self/maps").split(separator: "\n").compactMap {
      $0.split(separator: "/").last.map(String.init)
    }
    return Set(names.filter { name in wanted.contains { name.hasPrefix($0) } }).sorted()
  }

  /// Whether a process runs a program or library whose file was replaced since.
  static func runsOldFiles(_ process: Int32) -> Bool {
    text("/proc/\(process)/maps").split(separator: "\n").contains { line in
      line.hasSuffix(" (deleted)") && (line.contains(".so") || line.contains("/ckptd"))
    }
  }

  /// What is in a folder, in any order; nothing where it cannot be read.
  static func names(in folder: String) -> [String] {
    guard let entries = opendir(folder) else { return [] }
    defer { closedir(entries) }
    var names: [String] = []
    while let entry = readdir(entries) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }

  /// Files and folders below a folder that others than their owner can read or write.
  static func exposed(below folder: String) -> Int {
    var count = 0
    for name in names(in: folder) {
      let path = "\(folder)/\(name)"
      var status = stat()
      guard lstat(path, &status) == 0 else { continue }
      let kind = status.st_mode & S_IFMT
      if kind == S_IFDIR || kind == S_IFREG, status.st_mode & 0o077 != 0 { count += 1 }
      if kind == S_IFDIR { count += exposed(below: path) }
    }
    return count
  }
}
