import EpochStore
import Foundation
import Testing

/// Runs the built `ckpt`, as a user would on a machine without Xen.
func ckpt(_ arguments: [String], _ environment: [String: String] = [:]) throws -> (
  status: Int32, output: String, errors: String
) {
  let process = ckptProcess(arguments, environment)
  let (output, errors) = (Pipe(), Pipe())
  (process.standardOutput, process.standardError, process.standardInput) = (output, errors, FileHandle.nullDevice)
  try process.run()
  let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  let complaint = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  process.waitUntilExit()
  return (process.terminationStatus, text, complaint)
}

/// The same, not yet begun.
func ckptProcess(_ arguments: [String], _ environment: [String: String] = [:]) -> Process {
  let process = Process()
  // The test bundle and the product lie in the same folder.
  let bundle = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
  process.executableURL = bundle.deletingLastPathComponent().appendingPathComponent("ckpt")
  process.arguments = arguments
  process.environment = ["PATH": "/usr/bin:/bin"].merging(environment) { $1 }
  return process
}

/// A store with two epochs of a guest `web`.
final class SampleStore {
  var folder: String { path + "/11111111-2222-3333-4444-555555555555" }
  let path = FileManager.default.temporaryDirectory.path + "/ckpt-command-\(UInt64.random(in: 0...UInt64.max))"

  init() throws {
    let uuid = "11111111-2222-3333-4444-555555555555"
    let folder = try EpochStore(path: path).folder(uuid: uuid, create: true)
    for epoch in 1...2 {
      let writer = try folder.create(epoch: epoch, reserving: 0)
      try writer.append(record: 1, [1, 2, 3])
      _ = try writer.publish(
        EpochManifest(
          guest: "web", uuid: uuid, epoch: epoch, kind: .pvh, vcpus: 1, memoryBytes: 1 << 28, pauseMs: 12.5,
          stopMs: 3.25, disks: [], phases: ["copy": 2.5], suspendPath: "xenstore", xenVersion: "4.17"))
    }
  }
  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// Changes the record that is all an epoch's file holds.
  func damage(_ epoch: Int) throws {
    let file = path + "/11111111-2222-3333-4444-555555555555/0000000\(epoch).epoch"
    let handle = try #require(FileHandle(forUpdatingAtPath: file))
    try handle.seek(toOffset: 40)
    try handle.write(contentsOf: [9])
  }
}

/// The numbers of the epochs that are there.
func epochs(_ store: SampleStore) throws -> [Int] {
  try EpochStore(path: store.path).folder(uuid: "11111111-2222-3333-4444-555555555555", create: false).epochs()
    .allNumbers
}
