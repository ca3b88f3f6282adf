import Glibc

/// Where Debian's `xendomains` saves guests when the host shuts down: a file for each, with the guest's name. The next boot restores
/// them, and removes the files of those that came back. What another one was last is its file, together with its disks.
struct XendomainsSave {
  /// nil when guests are not saved.
  let folder: String?

  /// Debian's setting.
  private static let standard = "/var/lib/xen/save"

  /// - Parameter root: in place of the host's root folder.
  init(root: String = "") {
    let settings = "\(root)/etc/default/xendomains"
    let path = access(settings, R_OK) == 0 ? Self.folder(in: HostFiles.text(settings)) : Self.standard
    folder = path.hasPrefix("/") ? root + path : nil
  }

  /// - Returns: the guest's file; nil when it has none.
  func file(of guest: String) -> String? {
    guard let folder else { return nil }
    let path = "\(folder)/\(guest)"
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
    return path
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
