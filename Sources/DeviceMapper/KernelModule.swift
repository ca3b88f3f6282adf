import Glibc

enum KernelModule {
  /// Runs /sbin/modprobe and waits. Whether it helped is for the caller to see in the kernel.
  static func load(_ module: String) {
    let command = "/sbin/modprobe"
    var process: pid_t = 0
    let arguments: [UnsafeMutablePointer<CChar>?] = [strdup(command), strdup("-q"), strdup(module), nil]
    defer { for argument in arguments { free(argument) } }
    guard posix_spawn(&process, command, nil, nil, arguments, environ) == 0 else { return }
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 && errno == EINTR {}
  }
}

enum TextFile {
  /// The whole of a small file of /proc or /sys.
  static func read(_ path: String) throws -> String {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw DeviceMapperError.failed(.open, device: path, errno: errno, detail: "", left: .unchanged)
    }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
      bytes.append(contentsOf: chunk[..<count])
    }
  }
}
