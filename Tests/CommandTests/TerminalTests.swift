import EpochStore
import Foundation
import Testing

@Suite("What a terminal shows")
struct TerminalTests {
  @Test("Tables fit a screen, whatever guests are called")
  func width() throws {
    let store = try SampleStore()
    _ = try ckpt(["rename", "web", String(repeating: "long-", count: 12), "--store", store.path])
    _ = try ckpt(["tag", "11111111-2222-3333-4444-555555555555", "1", "before-the-upgrade", "--store", store.path])
    _ = try ckpt([
      "schedule", "set", "11111111-2222-3333-4444-555555555555", "--every", "5m", "--keep-last", "12", "--keep-daily",
      "7", "--keep-within", "2d", "--store", store.path,
    ])
    for command in [["list"], ["schedule", "list"], ["status"], ["doctor"], ["prune", "--keep-last", "1", "-n"]] {
      let lines = try ckpt(command + ["--store", store.path]).output.split(separator: "\n")
      #expect(lines.allSatisfy { $0.count <= 80 }, "\(command): \(lines)")
    }
  }

  /// What a command shows on a terminal, both of its outputs.
  private func onTerminal(_ arguments: [String], _ environment: [String: String] = [:]) throws -> String {
    let process = ckptProcess([], ["TERM": "xterm"].merging(environment) { $1 })
    let command = ([try #require(process.executableURL).path] + arguments).joined(separator: " ")
    process.executableURL = URL(fileURLWithPath: "/usr/bin/script")
    process.arguments = ["-qec", command, "/dev/null"]
    let output = Pipe()
    (process.standardOutput, process.standardInput) = (output, FileHandle.nullDevice)
    try process.run()
    defer { process.waitUntilExit() }
    return String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  }

  @Test("Colours are for a terminal, and not for one whose user wants none")
  func colours() throws {
    let store = try SampleStore()
    let doctor = ["doctor", "--store", store.path]
    #expect(try onTerminal(doctor).contains("\u{1b}["))
    for no in [["NO_COLOR": "1"], ["TERM": "dumb"]] { #expect(try !onTerminal(doctor, no).contains("\u{1b}")) }
    #expect(try !ckpt(doctor).output.contains("\u{1b}"))
  }

  @Test("Progress is for a terminal")
  func progress() throws {
    let store = try SampleStore()
    let verify = ["verify", "--full", "--store", store.path]
    #expect(try onTerminal(verify).contains("web epoch 2: 100 %"))
    let quiet = try ckpt(verify)
    #expect(quiet.errors.isEmpty && !quiet.output.contains("%"))
  }
}
