import EpochStore
import Foundation
import Testing

@Suite("Marks, names and removals")
struct VerbTests {
  @Test("Pins, tags and notes are set, shown and obeyed")
  func marks() throws {
    let store = try SampleStore()
    func say(_ words: String...) throws -> String { try ckpt(words + ["--store", store.path]).output }
    #expect(try say("pin", "web", "1") == "web: epoch 1: pinned\n")
    #expect(try say("tag", "web", "-2", "b") == "web: epoch 1: pinned, tag b\n")
    #expect(try say("tag", "web", "b", "a") == "web: epoch 1: pinned, tag a, tag b\n")
    #expect(try say("note", "web", "a", "before it") == "web: epoch 1: pinned, tag a, tag b, note: before it\n")
    #expect(try say("list", "web").contains("pinned,a,b before"))
    #expect(try say("show", "web", "a").contains("before it"))
    #expect(try say("show", "web", "1", "--json").contains("\"note\" : \"before it\""))
    _ = try say("prune", "web", "--keep-last", "1", "--yes")
    #expect(try epochs(store) == [1, 2])
    #expect(try say("unpin", "web", "1") == "web: epoch 1: tag a, tag b, note: before it\n")
    #expect(try say("note", "web", "1", "") == "web: epoch 1: tag a, tag b\n")
    #expect(try say("untag", "web", "1", "a") == "web: epoch 1: tag b\n")
    _ = try say("prune", "web", "--keep-last", "1", "--keep-tag", "b", "--yes")
    #expect(try epochs(store) == [1, 2])
    _ = try say("prune", "web", "--keep-last", "1", "--keep-tag", "a", "--yes")
    #expect(try epochs(store) == [2])
    #expect(try ckpt(["pin", "web", "7", "--store", store.path]).status == 10)
  }

  @Test("An epoch can be named in many ways wherever one is named")
  func epochNames() throws {
    let store = try SampleStore()
    _ = try ckpt(["tag", "web", "1", "first", "--store", store.path])
    for (name, epoch) in [("1", 1), ("latest", 2), ("-1", 2), ("-2", 1), ("first", 1), ("@2099-01-01T00:00Z", 2)] {
      let show = try ckpt(["show", "web", name, "--json", "--store", store.path]).output
      #expect(show.contains("\"epoch\" : \(epoch),"), "\(name): \(show)")
      #expect(try ckpt(["verify", "web", name, "--store", store.path]).output.hasPrefix("1 epoch verified"))
    }
    #expect(try ckpt(["show", "--store", store.path, "--", "web", "-2"]).status == 0)
    for (name, words) in [
      ("-3", "has no epoch -3; it has 2 epochs, -2 is epoch 1"),
      ("frist", "has no epoch tagged 'frist'; its tags are first"),
      ("@2001-01-01T00:00", "has no epoch at or before 2001-01-01T00:00:00.000Z; its oldest is epoch 1 of 20"),
    ] {
      let result = try ckpt(["show", "web", name, "--store", store.path])
      #expect(result.status == 10 && result.errors.hasPrefix("ckpt: guest 'web' \(words)"), "\(result.errors)")
      #expect(result.errors.filter { $0 == "\n" }.count == 1)
    }
  }

  @Test("Epochs are removed by name, but none that is pinned")
  func removes() throws {
    let store = try SampleStore()
    _ = try ckpt(["pin", "web", "1", "--store", store.path])
    let pinned = try ckpt(["remove", "web", "1", "-1", "--yes", "--store", store.path])
    #expect(pinned.status == 12 && pinned.errors.contains("pinned: 1; nothing was removed"))
    let dry = try ckpt(["remove", "web", "-1", "--dry-run", "--store", store.path])
    #expect(dry.status == 0 && dry.output == "would remove epoch 2 of 'web'\n")
    let unsure = try ckpt(["remove", "web", "-1", "--store", store.path])
    #expect(unsure.status == 12 && unsure.errors.contains("--yes"))
    #expect(try epochs(store) == [1, 2])
    let removed = try ckpt(["remove", "web", "-1", "--yes", "--store", store.path])
    #expect(removed.status == 0 && removed.output.hasPrefix("web: 1 epoch removed, 4.0K freed in the store"))
    #expect(try epochs(store) == [1])
    #expect(try ckpt(["remove", "web", "1", "--force", "--yes", "--store", store.path]).status == 0)
    #expect(try epochs(store) == [])
  }

  @Test(
    "All epochs of a guest are removed at once, and what the store knows of it when nothing else is left",
    .enabled(if: !FileManager.default.fileExists(atPath: "/dev/xen/privcmd")))
  func removesAll() throws {
    let store = try SampleStore()
    let uuid = "11111111-2222-3333-4444-555555555555"
    func run(_ words: String...) throws -> (status: Int32, output: String, errors: String) {
      try ckpt(words + ["--store", store.path])
    }
    _ = try run("pin", "web", "1")
    _ = try run("schedule", "set", "web", "--every", "5m")
    let pinned = try run("remove", "web", "--all", "--yes")
    #expect(pinned.status == 12 && pinned.errors.contains("pinned: 1; nothing was removed"))
    let dry = try run("remove", "web", "--all", "--force", "-n")
    #expect(dry.status == 0 && dry.output == "would remove epochs 1, 2 of 'web'\n")
    let unsure = try run("remove", "web", "--all", "--force")
    #expect(unsure.status == 12 && unsure.errors.contains("--yes"))
    #expect(try epochs(store) == [1, 2])

    let removed = try run("remove", "web", "--all", "--force", "--yes")
    #expect(removed.status == 0 && removed.output.hasPrefix("web: 2 epochs removed, "))
    #expect(removed.output.contains("\nweb: it has a schedule: ckpt schedule remove web\n"))
    #expect(removed.output.contains("ckpt remove \(uuid) --all\n"))
    #expect(try epochs(store) == [])
    #expect(try run("schedule", "remove", "web").status == 0)
    let rest = try run("remove", uuid, "--all", "-n")
    #expect(rest.output == "would remove what is left of 'web', which has no epochs\n")
    let gone = try run("remove", uuid, "--all", "--yes")
    #expect(gone.status == 0 && gone.output.hasSuffix("\nweb: nothing of it is left in the store\n"))
    #expect(!FileManager.default.fileExists(atPath: store.folder))
    #expect(try run("remove", uuid, "--all", "--yes").status == 10)
  }

  @Test("What a guest is called steers no terminal")
  func hostileName() throws {
    let store = try SampleStore()
    let folder = try #require(try EpochStore(path: store.path).find("web"))
    _ = try folder.create(epoch: 3, reserving: 0).publish(
      EpochManifest(
        guest: "w\u{1b}[2J\u{202e}b\n", uuid: folder.uuid, epoch: 3, kind: .pvh, vcpus: 1, memoryBytes: 1 << 28))
    // Wider than its column, it goes on below.
    #expect(try ckpt(["list", "--store", store.path]).output.contains("\nw\\u{1b}[2J\\u{202e}b\\u  3"))
    for command in [
      ["list"], ["show", folder.uuid, "3"], ["status"], ["prune", "-n", "--keep-last", "1"], ["verify", "--full"],
      ["rename", folder.uuid, "plain"], ["remove", folder.uuid, "3", "--yes"],
    ] {
      let result = try ckpt(command + ["--store", store.path])
      let steering = (result.output + result.errors).unicodeScalars.filter {
        $0 != "\n" && [.control, .format].contains($0.properties.generalCategory)
      }
      #expect(result.status == 0 && steering.isEmpty, "\(command): \(result)")
    }
  }

  @Test("A renamed guest is found by its new name")
  func renames() throws {
    let store = try SampleStore()
    let renamed = try ckpt(["rename", "web", "old-web", "--store", store.path])
    #expect(renamed.output.contains("was 'web', its epochs are now found as 'old-web'"))
    #expect(try ckpt(["list", "old-web", "--store", store.path]).output.contains("old-web  2"))
    #expect(try ckpt(["show", "web", "1", "--store", store.path]).status == 10)
    let bad = try ckpt(["rename", "old-web", "7", "--store", store.path])
    #expect(
      bad.status == 12
        && bad.errors == "ckpt: '7' is no name for a guest: a number is a domain's id; nothing was changed\n")
  }

  @Test("What was never brought back cannot be undone, and it is said without Xen")
  func undoes() throws {
    let store = try SampleStore()
    let result = try ckpt(["undo", "web", "--yes", "--store", store.path])
    #expect(result.status == 10)
    #expect(result.errors == "ckpt: guest 'web': there is nothing to undo: it was never brought back to an epoch\n")
  }

  @Test("Marks that cannot be read pin their epoch, and it is said")
  func unreadableMarks() throws {
    let store = try SampleStore()
    try Data("x".utf8).write(to: URL(fileURLWithPath: store.folder + "/00000001.marks"))
    let result = try ckpt(["prune", "web", "--keep-last", "1", "--yes", "--store", store.path])
    #expect(result.status == 0 && result.errors.contains("counts as pinned"))
    #expect(try epochs(store) == [1, 2])
    _ = try ckpt(["unpin", "web", "1", "--store", store.path])
    #expect(try ckpt(["prune", "web", "--keep-last", "1", "--yes", "--store", store.path]).errors.isEmpty)
    #expect(try epochs(store) == [2])
  }
}
