import EpochStore
import Foundation
import Testing

@Suite("ckpt verify")
struct VerifyCommandTests {
  @Test("Verifying tells what is damaged, in a line each, and remembers it")
  func verify() throws {
    let store = try SampleStore()
    let sound = try ckpt(["verify", "--store", store.path])
    #expect((sound.status, sound.errors) == (0, ""))
    #expect(sound.output == "2 epochs verified (quick), 2 sound, 0 not\n")
    #expect(try ckpt(["list", "--store", store.path]).output.contains("  quick"))

    try store.damage(1)
    #expect(try ckpt(["verify", "--store", store.path]).status == 0)
    let full = try ckpt(["verify", "web", "--full", "--store", store.path])
    #expect(full.status == 3)
    #expect(
      full.errors == """
        ckpt: web epoch 1 is damaged: 00000001.epoch: record 0 does not match its checksum; no take builds on it; \
        restore another epoch, or put the file back and run `ckpt verify web 1 --full`

        """)
    #expect(full.output == "2 epochs verified (full), 1 sound, 1 not\n")

    let list = try ckpt(["list", "--store", store.path]).output
    #expect(list.split(separator: "\n").map { $0.contains("damaged") } == [false, true, false])
    let show = try ckpt(["show", "web", "1", "--store", store.path]).output
    #expect(show.contains("damaged (full, 20") && show.contains("record 0 does not match"))
    #expect(try ckpt(["show", "web", "2", "--store", store.path]).output.contains("sound (full, 20"))
    #expect(try ckpt(["verify", "web", "1", "--full", "--store", store.path]).status == 1)
    #expect(try ckpt(["verify", "web", "7", "--store", store.path]).status == 10)
    #expect(try ckpt(["verify", "db", "--store", store.path]).status == 10)
  }

  @Test("Verdicts in JSON have the promised keys")
  func verdictKeys() throws {
    let store = try SampleStore()
    try store.damage(2)
    let result = try ckpt(["verify", "--subset", "5%", "--json", "--store", store.path])
    #expect(result.status == 3)
    let epochs = try #require(
      try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [[String: Any]])
    #expect(epochs.map { $0["result"] as? String } == ["sound", "damaged"])
    #expect(epochs.allSatisfy { $0["method"] as? String == "subset" && $0["share"] as? Double == 0.05 })
    #expect(epochs[1]["damage_count"] as? Int == 1 && epochs[1]["guest"] as? String == "web")
    let list = try ckpt(["list", "--json", "--store", store.path]).output
    let manifests = try #require(try JSONSerialization.jsonObject(with: Data(list.utf8)) as? [[String: Any]])
    #expect(manifests.map { ($0["verified"] as? [String: Any])?["result"] as? String } == ["sound", "damaged"])
  }

  @Test("A guest that is busy is not verified, and told so at once")
  func verifyLocked() throws {
    let store = try SampleStore()
    let folder = try #require(try EpochStore(path: store.path).find("web"))
    let lock = try folder.lock(.exclusive)
    defer { _ = lock }
    let result = try ckpt(["verify", "web", "--store", store.path])
    #expect(result.status == 11 && result.errors.contains("locked by process"))
  }

  // MARK: Retention
}
