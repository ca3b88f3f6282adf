import EpochStore
import Foundation
import Testing

@Suite("ckpt prune")
struct PruneCommandTests {
  @Test("A dry run shows every epoch with its reason and removes none")
  func dryRun() throws {
    let store = try SampleStore()
    let result = try ckpt(["prune", "web", "--keep-last", "1", "--dry-run", "--store", store.path])
    #expect(result.status == 0 && result.errors.isEmpty)
    let lines = result.output.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
    #expect(lines.contains { $0.first == "1" && $0.suffix(3) == ["remove", "no", "rule"] })
    #expect(lines.contains { $0.first == "2" && $0.suffix(2) == ["keep", "last"] })
    #expect(try epochs(store) == [1, 2])
  }

  @Test("Without a terminal it wants --yes, and says so")
  func wantsYes() throws {
    let store = try SampleStore()
    let result = try ckpt(["prune", "web", "--keep-last", "1", "--store", store.path])
    #expect(result.status == 12)
    #expect(result.errors.contains("1 of 'web'") && result.errors.contains("--yes"))
    #expect(try epochs(store) == [1, 2])
  }

  @Test("Epochs are removed and the bytes told, for one guest and for all", arguments: [["web"], []])
  func prune(guest: [String]) throws {
    let store = try SampleStore()
    let result = try ckpt(["prune"] + guest + ["--keep-last", "1", "--yes", "--store", store.path])
    #expect(result.status == 0 && result.errors.isEmpty)
    #expect(result.output.contains("web: 1 epoch removed, 4.0K freed in the store"))
    #expect(try epochs(store) == [2])
  }

  @Test("What was pruned in JSON")
  func pruneJSON() throws {
    let store = try SampleStore()
    let result = try ckpt(["prune", "web", "--keep-last", "1", "--yes", "--json", "--store", store.path])
    let reports = try #require(
      try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [[String: Any]])
    #expect(reports.count == 1 && reports[0]["removed"] as? [Int] == [1] && reports[0]["dry_run"] as? Bool == false)
    #expect(reports[0]["freed_bytes"] as? Int == 4096 && reports[0]["held_bytes"] as? Int == 0)
    let epochs = try #require(reports[0]["epochs"] as? [[String: Any]])
    #expect(epochs.map { $0["keep"] as? Bool } == [false, true])
    #expect(epochs.map { $0["reasons"] as? [String] } == [["no rule"], ["last"]])
  }

  @Test("Without a guest there is nothing to prune, which is JSON too", arguments: [[], ["-n"], ["--yes"]])
  func pruneNothing(flags: [String]) throws {
    let path = FileManager.default.temporaryDirectory.path + "/ckpt-empty-\(UInt64.random(in: 0...UInt64.max))"
    _ = try EpochStore(path: path)
    defer { try? FileManager.default.removeItem(atPath: path) }
    let result = try ckpt(["prune", "--keep-last", "1", "--json", "--store", path] + flags)
    #expect(result.status == 0 && result.errors.isEmpty)
    let value = try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [Any]
    #expect(value?.isEmpty == true)
  }

  @Test("Without a rule nothing is removed")
  func noRule() throws {
    let store = try SampleStore()
    let result = try ckpt(["prune", "web", "--store", store.path])
    #expect(result.status == 0 && result.output.contains("the policy is empty"))
    #expect(try epochs(store) == [1, 2])
  }

  @Test("A policy that would leave nothing is refused in one line")
  func leavesNothing() throws {
    let store = try SampleStore()
    let result = try ckpt(["prune", "--keep-tag", "gold", "--yes", "--store", store.path])
    #expect(result.status == 12)
    #expect(result.errors.contains("'web'") && result.errors.filter { $0 == "\n" }.count == 1)
    #expect(try epochs(store) == [1, 2])
  }

  @Test("A guest that is busy is not pruned")
  func busy() throws {
    let store = try SampleStore()
    let folder = try EpochStore(path: store.path).folder(uuid: "11111111-2222-3333-4444-555555555555", create: false)
    let lock = try folder.lock(.exclusive)
    #expect(try ckpt(["prune", "web", "--keep-last", "1", "--yes", "--store", store.path]).status == 11)
    withExtendedLifetime(lock) {}
    #expect(try epochs(store) == [1, 2])
  }

  @Test("An epoch whose manifest is damaged can be removed, and holds nothing for ever")
  func prunesDamaged() throws {
    let store = try SampleStore()
    try Data("{}".utf8).write(to: URL(fileURLWithPath: store.folder + "/00000001.json"))
    let result = try ckpt(["prune", "web", "--keep-last", "1", "--yes", "--store", store.path])
    #expect(result.status == 0 && result.output.contains("unknown"))
    #expect(try FileManager.default.contentsOfDirectory(atPath: store.folder).filter { $0.hasPrefix("00000001") } == [])
  }
}
