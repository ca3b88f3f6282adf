public import EpochStore
import MigrationStream

/// Writes an epoch as a core file: memory and registers as debuggers read them.
struct CoreExport {
  private let reader: EpochReader
  private let threads: Int
  private var vcpus: [CoreRegisters] = []
  private var contexts = XenCore.Contexts(vcpus: [], sharedInfo: [])

  /// - Throws: `StoreError` for a damaged file, ``CoreError/noRegisters(guest:epoch:)``.
  init(_ reader: EpochReader, threads: Int) throws {
    self.reader = reader
    self.threads = threads
    for record in try reader.records() {
      switch try? RecordBody(Record(type: RecordType(rawValue: record.type), body: record.body)) {
      case .hvmContext(let bytes): vcpus = CoreRegisters.all(hvmContext: bytes)
      case .sharedInfo(let page): contexts.sharedInfo = page
      case .pvVCPU(.basic, let id, let context):
        guard let registers = CoreRegisters(pv: context, vcpu: id) else { continue }
        vcpus.append(registers)
        contexts.vcpus.append(context)
      default: continue
      }
    }
    guard !vcpus.isEmpty, reader.manifest.kind == .pvh || !contexts.vcpus.isEmpty else {
      throw CoreError.noRegisters(guest: reader.manifest.guest, epoch: reader.manifest.epoch)
    }
  }

  /// - Returns: what a debugger will miss; nil when it has all.
  func write(to descriptor: Int32) throws -> String? {
    var output = CoreOutput(descriptor)
    do {
      switch reader.manifest.kind {
      case .pv: return try writeXen(to: &output)
      case .pvh: return try writeKdump(to: &output)
      }
    } catch let error as StreamError {
      throw CoreError(error)
    }
  }

  private func writeXen(to output: inout CoreOutput) throws -> String? {
    let release = reader.manifest.xenVersion.split(separator: ".").compactMap { UInt64($0) }
    let core = XenCore(
      pageCount: PageRuns(reader).runs.last?.upperBound ?? 0, contexts, vcpus,
      release: (release.first ?? 0, release.dropFirst().first ?? 0))
    try core.write(reader, to: &output, threads: threads)
    return nil
  }

  private func writeKdump(to output: inout CoreOutput) throws -> String? {
    // It stands before the memory, so memory is read for it first.
    let info = try VMCoreInfo.find(in: reader, threads: threads)
    try KdumpCore(PageRuns(reader), vcpus, info).write(reader, to: &output, threads: threads)
    guard info == nil else { return nil }
    return
      "the guest's memory holds no VMCOREINFO: if its kernel lies at random, give crash --kaslr and --machdep phys_base"
  }
}

extension Engine {
  /// Writes an epoch as a core file for crash and gdb; every page is checked on the way. In a regular file pages of zeros are holes.
  ///
  /// - Returns: what a debugger will miss; nil when it has all.
  /// - Throws: ``CoreError``.
  public func exportCore(_ guest: String, epoch: EpochReference, to descriptor: Int32) throws -> String? {
    let folder = try folder(of: guest)
    let lock = try folder.lock(.shared)
    defer { _ = lock }
    let export = try CoreExport(
      folder.open(epoch: resolve(epoch, in: folder, of: guest)), threads: EpochStore.processors)
    let missing = try export.write(to: descriptor)
    let code = syncFile(descriptor)
    guard code == 0 else { throw CoreError.writeFailed(errno: code) }
    return missing
  }
}
