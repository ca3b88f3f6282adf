import Glibc

/// A program that root may run for us: absolute, a regular file, of root (or of whoever runs ckpt), that nobody else can write.
public struct HookProgram: Sendable, Equatable {
  public let path: String

  /// - Throws: ``HookError/refused(path:why:)``.
  public init(_ path: String) throws(HookError) {
    self.path = path
    try check()
  }

  init(unchecked path: String) { self.path = path }

  /// The file may have changed since the configuration was read: asked again before each run.
  ///
  /// - Throws: ``HookError/refused(path:why:)``.
  func check() throws(HookError) {
    try checkPath()
    var status = stat()
    guard lstat(path, &status) == 0 else { throw .refused(path: path, why: String(cString: strerror(errno))) }
    guard status.st_mode & S_IFMT == S_IFREG else { throw .refused(path: path, why: "it is not a regular file") }
    guard status.st_uid == 0 || status.st_uid == geteuid() else {
      throw .refused(path: path, why: "it belongs to user \(status.st_uid); chown root it")
    }
    guard status.st_mode & 0o022 == 0 else {
      throw .refused(path: path, why: "others than its owner can write it; chmod go-w it")
    }
    guard status.st_mode & 0o100 != 0 else { throw .refused(path: path, why: "it is not executable; chmod u+x it") }
  }
}

extension HookProgram {
  /// What is wrong whatever there is on the host.
  ///
  /// - Throws: ``HookError/refused(path:why:)``.
  func checkPath() throws(HookError) {
    guard path.hasPrefix("/"), !path.utf8.contains(0) else {
      throw .refused(path: path, why: "name it by its whole path")
    }
  }
}

/// Programs that a take runs, and how long each may take.
public struct HookSettings: Sendable, Equatable {
  /// Before the guest is touched; when it fails, there is no take.
  public var before: HookProgram?
  /// While the guest is held.
  public var pause: HookProgram?
  /// As soon as the guest runs again, while the epoch is written.
  public var after: HookProgram?
  /// When a take that had begun fails.
  public var failed: HookProgram?
  /// Seconds for each but the one in the pause.
  public var seconds = 30.0
  /// Seconds for the one in the pause, from the moment the guest is held. The guest is held for it no longer.
  public var pauseSeconds = 0.1

  public init() {}
}
