import EpochStore
import Foundation
import MigrationStream
import Testing

@testable import Checkpoint

/// A store with one epoch of a guest whose registers and pages the test knows.
final class CoreHouse {
  let root = FileManager.default.temporaryDirectory.path + "/ckpt-core-\(UInt64.random(in: 0...UInt64.max))"
  let engine: Engine
  var file: String { root + "/core" }
  static let uuid = "6f1c2f0e-0000-4000-8000-000000000002"

  init(_ kind: EpochManifest.Kind, _ records: [RecordBody], pages: [UInt64: [UInt8]]) throws {
    engine = Engine(storePath: root)
    let folder = try EpochStore(path: root).folder(uuid: Self.uuid, create: true)
    let writer = try folder.create(epoch: 1, reserving: 0)
    for record in records.map({ Record($0) }) { try writer.append(record: record.type.rawValue, record.body) }
    let pfns = pages.keys.sorted()
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: pfns.count * 4096, alignment: 4096)
    defer { bytes.deallocate() }
    for (index, pfn) in pfns.enumerated() {
      UnsafeMutableRawBufferPointer(rebasing: bytes[(index * 4096)..<((index + 1) * 4096)]).copyBytes(from: pages[pfn]!)
    }
    try pfns.withUnsafeBufferPointer { pfns in
      try [UInt8](repeating: 0, count: pfns.count).withUnsafeBufferPointer { types in
        _ = try writer.append(StagedPages(pfns: pfns, types: types, pages: UnsafeRawBufferPointer(bytes)))
      }
    }
    _ = try writer.publish(
      EpochManifest(
        guest: "web", uuid: Self.uuid, epoch: 1, time: EpochTime(milliseconds: 0), kind: kind, vcpus: 2,
        memoryBytes: 1 << 20, xenVersion: "4.17.7"))
  }

  deinit { try? FileManager.default.removeItem(atPath: root) }

  /// Exports to a regular file.
  @discardableResult
  func export() throws -> String? {
    let descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    defer { close(descriptor) }
    return try engine.exportCore("web", epoch: 1, to: descriptor)
  }

  /// What a reader of a pipe gets.
  func piped() throws -> [UInt8] {
    let (reader, pipe, copy) = (Process(), Pipe(), root + "/piped")
    close(open(copy, O_WRONLY | O_CREAT | O_TRUNC, 0o600))
    reader.executableURL = URL(fileURLWithPath: "/bin/cat")
    reader.standardInput = pipe
    reader.standardOutput = FileHandle(forWritingAtPath: copy)
    try reader.run()
    _ = try engine.exportCore("web", epoch: 1, to: pipe.fileHandleForWriting.fileDescriptor)
    try pipe.fileHandleForWriting.close()
    reader.waitUntilExit()
    return [UInt8](try Data(contentsOf: URL(fileURLWithPath: copy)))
  }

  func contents() throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: file))) }

  /// What a tool prints of the file; nil where this machine does not have it.
  func tool(_ arguments: [String]) throws -> String? {
    let path = "/usr/bin/" + arguments[0]
    guard FileManager.default.isExecutableFile(atPath: path) else { return nil }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = Array(arguments.dropFirst()) + [file]
    let output = Pipe()
    (process.standardOutput, process.standardError) = (output, output)
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return text
  }

  static func page(_ byte: UInt8) -> [UInt8] { [UInt8](repeating: byte, count: 4096) }

  static func page(_ text: String) -> [UInt8] {
    Array(text.utf8) + [UInt8](repeating: 0, count: 4096 - text.utf8.count)
  }

  /// What each register is made to hold: told apart by its place in `CoreRegisters.names` and its vCPU.
  static func value(_ register: Int, vcpu: UInt32) -> UInt64 {
    0x1000 * UInt64(register + 1) + UInt64(vcpu) + 0x1_0000_0000
  }
}

/// A core file as a debugger reads it.
struct CoreFile {
  struct Load { var virtual, physical, offset, bytes: UInt64 }

  let bytes: [UInt8]
  var loads: [Load] = []
  /// Notes of the program headers: name, type, content.
  var notes: [(name: String, type: UInt32, content: [UInt8])] = []
  var sections: [String: Range<Int>] = [:]

  init(_ bytes: [UInt8]) throws {
    self.bytes = bytes
    #expect(bytes.prefix(7) == [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
    #expect(bytes.little(at: 16, as: UInt16.self) == 4 && bytes.little(at: 18, as: UInt16.self) == 62)
    for number in 0..<Int(word16(56)) {
      let at = 64 + number * 56
      let (offset, count) = (word(at + 8), word(at + 32))
      if word32(at) == 4 { notes += Self.notes(Array(bytes[Int(offset)..<Int(offset + count)])) }
      guard word32(at) == 1 else { continue }
      #expect(word(at + 32) == word(at + 40) && word(at + 48) == 0)
      loads.append(Load(virtual: word(at + 16), physical: word(at + 24), offset: offset, bytes: count))
    }
    let (sectionsAt, count, names) = (Int(word(40)), Int(word16(60)), Int(word16(62)))
    for number in 0..<count {
      let at = sectionsAt + number * 64
      let nameAt = Int(word(sectionsAt + names * 64 + 24)) + Int(word32(at))
      let name = String(decoding: bytes[nameAt...].prefix { $0 != 0 }, as: UTF8.self)
      sections[name] = Int(word(at + 24))..<Int(word(at + 24) + word(at + 32))
    }
  }

  func word(_ offset: Int) -> UInt64 { bytes.little(at: offset) ?? 0 }
  private func word32(_ offset: Int) -> UInt32 { bytes.little(at: offset) ?? 0 }
  private func word16(_ offset: Int) -> UInt16 { bytes.little(at: offset) ?? 0 }

  static func notes(_ bytes: [UInt8]) -> [(name: String, type: UInt32, content: [UInt8])] {
    var result: [(String, UInt32, [UInt8])] = []
    var at = 0
    while let nameBytes = bytes.little(at: at, as: UInt32.self), let count = bytes.little(at: at + 4, as: UInt32.self),
      let type = bytes.little(at: at + 8, as: UInt32.self)
    {
      let contentAt = at + 12 + (Int(nameBytes) + 3) / 4 * 4
      let name = String(decoding: bytes[(at + 12)..<(at + 12 + Int(nameBytes) - 1)], as: UTF8.self)
      result.append((name, type, Array(bytes[contentAt..<(contentAt + Int(count))])))
      at = contentAt + (Int(count) + 3) / 4 * 4
    }
    return result
  }

  /// The page at a physical address; nil where no range has it.
  func page(physical: UInt64) -> [UInt8]? {
    page(
      at: loads.first { $0.physical <= physical && physical - $0.physical < $0.bytes }.map {
        $0.offset + physical - $0.physical
      })
  }

  func page(virtual: UInt64) -> [UInt8]? {
    page(
      at: loads.first { $0.virtual <= virtual && virtual - $0.virtual < $0.bytes }.map {
        $0.offset + virtual - $0.virtual
      })
  }

  private func page(at offset: UInt64?) -> [UInt8]? { offset.map { Array(bytes[Int($0)..<Int($0) + 4096]) } }

  /// Thread id and registers of each `NT_PRSTATUS`.
  var threads: [(id: UInt32, registers: [UInt64])] {
    notes.filter { $0.name == "CORE" && $0.type == 1 }.map { note in
      #expect(note.content.count == 336)
      return (note.content.little(at: 32) ?? 0, (0..<27).map { note.content.little(at: 112 + $0 * 8) ?? 0 })
    }
  }
}
