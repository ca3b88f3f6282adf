import EpochStore
import Foundation
import Testing

/// Runs the built `ckpt`, as a user would on a machine without Xen.
private func ckpt(_ arguments: [String]) throws -> (status: Int32, output: String, errors: String) {
  let process = Process()
  // The test bundle and the product lie in the same folder.
  let bundle = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
  process.executableURL = bundle.deletingLastPathComponent().appendingPathComponent("ckpt")
  process.arguments = arguments
  process.environment = ["PATH": "/usr/bin:/bin"]
  let (output, errors) = (Pipe(), Pipe())
  (process.standardOutput, process.standardError, process.standardInput) = (output, errors, FileHandle.nullDevice)
  try process.run()
  let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  let complaint = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  process.waitUntilExit()
  return (process.terminationStatus, text, complaint)
}

/// A store with two epochs of a guest `web`.
private final class SampleStore {
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
}

private let hasXen = FileManager.default.fileExists(atPath: "/dev/xen/privcmd")

@Suite("The command")
struct CommandTests {
  @Test("On a machine without Xen it says how to see it work", .enabled(if: !hasXen))
  func noXen() throws {
    let result = try ckpt(["take", "web"])
    #expect(result.status == 12)
    #expect(result.errors.hasPrefix("ckpt: no Xen here") && result.errors.contains("./Tools/demo"))
    #expect(result.errors.filter { $0 == "\n" }.count == 1)
    #expect(result.output.isEmpty)
  }

  @Test(
    "Wrong words are one line and a documented status",
    arguments: [
      (["list", "--store", "/nowhere"], Int32(10), "no store at /nowhere"),
      (["show", "web", "1", "--store", "/nowhere"], 10, "no store at /nowhere"),
      (["disk", "create", "web", "xvda", "--size", "lots"], 12, "'lots' is no size"),
      (["disk", "create", "web", "xvda", "--size", "0"], 12, "'0' is no size"),
      (["disk", "create", "web", "xvda", "--size", "99999999999T"], 12, "is no size"),
    ])
  func wrongWords(arguments: [String], status: Int32, words: String) throws {
    let result = try ckpt(arguments)
    #expect(result.status == status)
    #expect(result.errors.contains(words))
    #expect(result.errors.filter { $0 == "\n" }.count == 1)
  }

  @Test(
    "Wrong usage has its own status",
    arguments: [
      ["take"], ["restore", "web"], ["restore", "web", "first"], ["pool", "create", "main"],
      ["pool", "create", "main", "--data", "/dev/x"], ["disk", "create", "web", "xvda"], ["nonsense"],
    ])
  func usage(arguments: [String]) throws { #expect(try ckpt(arguments).status == 64) }

  @Test(
    "Every command explains itself",
    arguments: [
      ["take"], ["restore"], ["list"], ["show"], ["export"], ["pool", "create"], ["pool", "show"], ["pool", "start"],
      ["disk", "create"],
      ["disk", "list"],
    ])
  func help(command: [String]) throws {
    let result = try ckpt(command + ["--help"])
    #expect(result.status == 0)
    #expect(result.output.contains("USAGE: ckpt \(command.joined(separator: " "))"))
    #expect(result.output.contains("--json"))
  }

  @Test("Epochs in JSON have the promised keys")
  func keys() throws {
    let store = try SampleStore()
    let promised: Set = [
      "guest", "uuid", "epoch", "time", "pause_ms", "stop_ms", "bytes", "pages", "disks", "phases",
    ]
    let list = try ckpt(["list", "web", "--json", "--store", store.path])
    let epochs = try #require(
      try JSONSerialization.jsonObject(with: Data(list.output.utf8)) as? [[String: Any]])
    #expect(epochs.map { $0["epoch"] as? Int } == [1, 2])
    #expect(epochs.allSatisfy { Set($0.keys).isSuperset(of: promised) })
    let show = try ckpt(["show", "web", "2", "--json", "--store", store.path])
    let epoch = try #require(try JSONSerialization.jsonObject(with: Data(show.output.utf8)) as? [String: Any])
    #expect(epoch["pause_ms"] as? Double == 12.5 && epoch["stop_ms"] as? Double == 3.25)
  }

  @Test("An unknown epoch names those that are there")
  func unknownEpoch() throws {
    let store = try SampleStore()
    let result = try ckpt(["show", "web", "7", "--store", store.path])
    #expect(result.status == 10)
    #expect(result.errors == "ckpt: guest 'web' has no epoch 7; it has 1, 2\n")
  }

  @Test("A damaged manifest is named and hides no other epoch")
  func damagedManifest() throws {
    let store = try SampleStore()
    let manifest = store.path + "/11111111-2222-3333-4444-555555555555/00000001.json"
    try Data("{}".utf8).write(to: URL(fileURLWithPath: manifest))
    let result = try ckpt(["list", "--store", store.path])
    #expect(result.errors.contains("epoch 1") && result.errors.contains("damaged"))
    #expect(result.output.contains("web    2"))
  }
}
