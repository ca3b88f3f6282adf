import CLinux
import Foundation
import Testing

@testable import ckpt

@Suite("A file that is exported to")
final class NewFileTests {
  private struct Failed: Error {}
  private let folder = FileManager.default.temporaryDirectory.path + "/ckpt-new-\(UInt64.random(in: 0...UInt64.max))"
  private var path: String { folder + "/web.core" }

  init() throws { try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false) }
  deinit { try? FileManager.default.removeItem(atPath: folder) }

  private func names() throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: folder) }
  private func content() throws -> String { try String(contentsOfFile: path, encoding: .utf8) }

  @Test("has its name when it is whole, and is root's alone")
  func whole() throws {
    try NewFile(path).fill { descriptor in
      #expect(write(descriptor, "all", 3) == 3)
      let there = try names()
      #expect(there.isEmpty || !hasUnnamed)
    }
    #expect(try content() == "all")
    let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
    #expect(mode == 0o600)
  }

  @Test("is not there when something failed")
  func failed() throws {
    #expect(throws: Failed.self) { try NewFile(path).fill { _ in throw Failed() } }
    #expect(try names().isEmpty)
  }

  /// The file system can have files without a name, as ext4, xfs and tmpfs can.
  private var hasUnnamed: Bool {
    let descriptor = open(folder, O_WRONLY | ckpt_O_TMPFILE, 0o600)
    close(descriptor)
    return descriptor >= 0
  }

  private var words: String { "cannot make \(path): File exists; remove it or name another" }

  @Test("does not take the place of one that came meanwhile")
  func late() throws {
    guard hasUnnamed else { return }
    let file = try NewFile(path)
    try Data("theirs".utf8).write(to: URL(filePath: path))
    #expect { try file.fill { _ in } } throws: { "\($0)" == words }
    #expect(try content() == "theirs")
  }

  @Test("is not made where there is one")
  func taken() throws {
    try Data("theirs".utf8).write(to: URL(filePath: path))
    #expect { try NewFile(path) } throws: { "\($0)" == words }
    let store = try SampleStore()
    let result = try ckpt(["export", "web", "1", path, "--store", store.path])
    #expect(result.status == 12 && result.errors == "ckpt: \(words)\n")
    #expect(try content() == "theirs")
    #expect { try NewFile(folder + "/no/such") } throws: { "\($0)".hasSuffix("No such file or directory") }
  }
}
