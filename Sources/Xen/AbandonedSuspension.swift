import CXen
import Glibc

/// Who is suspending a guest: a note beside the domain in xenstore, from before the request until after the resume.
///
/// It goes when the domain goes. The process is told by number and start time, so that another one with the same number
/// is not taken for it.
struct SuspensionNote {
  private static func path(_ domain: UInt32) -> String { "/local/domain/\(domain)/ckpt/pause" }

  static func write(_ store: XenStore, domain: UInt32) throws(XenError) {
    try store.write(path(domain), "\(getpid()) \(startTime(getpid()) ?? 0)")
  }

  static func clear(_ store: XenStore, domain: UInt32) throws(XenError) { try store.write(path(domain), "") }

  /// Whether there is a note, and whether its process still lives.
  static func read(_ store: XenStore, domain: UInt32) -> (exists: Bool, isAlive: Bool) {
    guard let text = store.read(path(domain)), !text.isEmpty else { return (false, false) }
    let words = text.split(separator: " ")
    guard words.count == 2, let process = pid_t(words[0]), let start = UInt64(words[1]) else { return (true, false) }
    return (true, startTime(process) == start)
  }

  /// When a process began, in clock ticks since the boot (proc(5), field 22 of `stat`); nil when there is none.
  private static func startTime(_ process: pid_t) -> UInt64? {
    guard let file = fopen("/proc/\(process)/stat", "r") else { return nil }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 1024)
    guard fgets(&line, Int32(line.count), file) != nil else { return nil }
    // The name in parentheses may hold anything; the fields after it are counted from 3.
    let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    guard let end = text.lastIndex(of: ")") else { return nil }
    let fields = text[text.index(after: end)...].split(separator: " ")
    return fields.count > 19 ? UInt64(fields[19]) : nil
  }
}

/// A suspend whose process did not live to end it.
public struct AbandonedSuspension {
  public enum Outcome: Sendable, Equatable {
    /// The guest was suspended; it runs again.
    case resumed
    /// The guest had not taken the request; it is withdrawn.
    case withdrawn
    /// The guest ran already.
    case running
  }

  public let domain: Domain
  /// The process that asked still lives: nothing is abandoned, and nothing must be done.
  public let isAlive: Bool
  private let hypervisor: Hypervisor
  private let store: XenStore

  /// Nil when nobody of ours asked the guest to suspend.
  public init?(_ hypervisor: Hypervisor, _ store: XenStore, _ domain: Domain) {
    let note = SuspensionNote.read(store, domain: domain.id)
    guard note.exists else { return nil }
    self.domain = domain
    self.hypervisor = hypervisor
    self.store = store
    isAlive = note.isAlive
  }

  /// Brings the guest back to running: resumes it, or takes the request back and waits for a suspend that comes late.
  ///
  /// - Throws: ``XenError/resumeFailed(domain:errno:)`` and others; the note then stays, so that it can be tried again.
  public func settle() throws(XenError) -> Outcome {
    let suspension = try Suspension(settling: hypervisor, store, domain)
    let outcome = try suspension.settle()
    suspension.close()
    return outcome
  }
}
