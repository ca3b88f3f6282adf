import Glibc
import MigrationStream
import Testing

/// Xen's own checker, where the package with it is installed. It knows bytes but no order; the lab restores for real.
struct VerifyToolTests {
  static let tool = "/usr/lib/xen-4.17/bin/verify-stream-v2"
  static let modules = "/usr/lib/xen-4.17/lib/python"

  @Test(.enabled(if: access(tool, X_OK) == 0), arguments: [DomainKind.pv, .hvm])
  func xenAcceptsWhatWeWrite(kind: DomainKind) throws {
    let whole = try file(of: kind, damage: false)
    defer { unlink(whole) }
    #expect(verify(whole) == 0)
    // A checker that says yes to everything would prove nothing.
    let damaged = try file(of: kind, damage: true)
    defer { unlink(damaged) }
    #expect(verify(damaged) != 0)
  }

  private func file(of kind: DomainKind, damage: Bool) throws -> String {
    var name = Array("/tmp/ckpt-stream-XXXXXX".utf8CString)
    let descriptor = mkstemp(&name)
    try #require(descriptor >= 0)
    defer { close(descriptor) }
    var writer = StreamWriter(DescriptorSink(descriptor))
    try writeGuest(kind, to: &writer)
    // The last record of the libxl stream is END; the verifier misses it.
    if damage { ftruncate(descriptor, lseek(descriptor, 0, SEEK_END) - 8) }
    return name.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
  }

  /// Exit code of the verifier on `path`.
  private func verify(_ path: String) -> Int32 {
    let words = [
      "env", "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH=\(Self.modules)", Self.tool, "-q", "-f", "xl", "-i",
      path,
    ]
    var arguments = words.map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    var child: pid_t = 0
    guard posix_spawn(&child, "/usr/bin/env", nil, nil, &arguments, environ) == 0 else { return -1 }
    var status: Int32 = 0
    while waitpid(child, &status, 0) == -1 && errno == EINTR {}
    return status
  }
}
