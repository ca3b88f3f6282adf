import EpochStore
import Glibc
import MigrationStream

/// Where Debian's `xendomains` saves guests when the host shuts down: a file for each, with the name that the guest had then. The next boot
/// restores them, and removes the files of those that came back. What another one was last is its file, together with its disks.
struct XendomainsSave {
  private struct File {
    var name, path: String
    /// Of the guest in it; nil where no guest can be found.
    var uuid: String?
  }

  /// By name; none when guests are not saved.
  private let files: [File]

  /// Debian's setting.
  private static let standard = "/var/lib/xen/save"

  /// - Parameter root: in place of the host's root folder.
  init(root: String = "") {
    let settings = "\(root)/etc/default/xendomains"
    let path = access(settings, R_OK) == 0 ? Self.folder(in: HostFiles.text(settings)) : Self.standard
    files = path.hasPrefix("/") ? Self.files(in: root + path) : []
  }

  private static func files(in folder: String) -> [File] {
    var files: [File] = []
    for name in HostFiles.names(in: folder) {
      let path = "\(folder)/\(name)"
      var status = stat()
      guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { continue }
      files.append(File(name: name, path: path, uuid: uuid(in: path)))
    }
    return files.sorted { $0.name < $1.name }
  }

  /// The uuid in a file of `xl save`, lower case; nil for any other file.
  private static func uuid(in path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var reader = StreamReader(DescriptorSource(descriptor))
    guard case .xlHeader(let json)? = try? reader.next() else { return nil }
    return (try? XLConfig(json: json))?.uuid.lowercased()
  }

  /// - Parameters:
  ///   - uuid: what tells the guest, whatever it was called when it was saved.
  ///   - name: what it is called. A file of this name counts though it has another uuid: without one in its configuration a guest gets a
  ///     new one at each start.
  ///   - older: what it was called before; for files that tell no uuid.
  /// - Returns: the guest's file; nil when it has none.
  func file(of uuid: String, called name: String, before older: Set<String> = []) -> String? {
    let file =
      files.first { $0.uuid == uuid } ?? files.first { $0.name == name }
      ?? files.first { $0.uuid == nil && older.contains($0.name) }
    return file?.path
  }

  /// Whether a restore that did not end has destroyed the guest since it was saved: then that is not what it was last.
  static func isOutdated(_ file: String, in folder: GuestFolder) -> Bool {
    var status = stat()
    guard let last = try? folder.unendedRollback(), last.destroys, stat(file, &status) == 0 else { return false }
    return Int64(status.st_mtim.tv_sec) * 1000 + Int64(status.st_mtim.tv_nsec) / 1_000_000 < last.time.milliseconds
  }

  /// What somebody should know whose guest goes back while there is such a file.
  static func warning(_ file: String) -> String {
    "\(file), which xendomains saved when the host shut down, stays: restored from it, the guest would find other disks than "
      + "its memory knows, and damage them; remove it before the next boot"
  }

  // MARK: settings

  /// The folder that the settings name, which a shell reads; empty when they name none.
  static func folder(in settings: String) -> String {
    let setting = #/[ \t]*(?:export[ \t]+)?XENDOMAINS_SAVE=(.*)/#
    let last = settings.split(whereSeparator: \.isNewline).compactMap { $0.prefixMatch(of: setting) }.last
    guard let last else { return "" }
    // What only a shell could work out is most likely what Debian has.
    return word(last.1) ?? standard
  }

  /// The first word without its quotes; nil when it is made of variables or commands.
  private static func word(_ text: Substring) -> String? {
    var (word, rest) = ("", text)
    var quote: Character?
    while let character = rest.popFirst() {
      if character == quote {
        quote = nil
      } else if quote == nil, character == "\"" || character == "'" {
        quote = character
      } else if quote == nil, character.isWhitespace || character == ";" {
        return word
      } else if quote != "'", character == "$" || character == "`" {
        return nil
      } else if quote != "'", character == "\\" {
        if let next = rest.popFirst() { word.append(next) }
      } else {
        word.append(character)
      }
    }
    return word
  }
}
