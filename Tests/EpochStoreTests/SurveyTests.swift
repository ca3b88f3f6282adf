import Glibc
import Testing

@testable import EpochStore

/// A folder that cannot be read hides no other.
@Suite struct SurveyTests {
  private let store: TemporaryStore
  private let bad = "11111111-2222-3333-4444-555555555555"
  private var badPath: String { store.store.path + "/" + bad }
  private var error: StoreError { .system(operation: "list", path: badPath, errno: ENOTDIR) }

  init() throws {
    store = try TemporaryStore()
    try store.publish(Image(pages: [1: Random(3).fixedPage()]), epoch: 1)
    // A file in a folder's place cannot be listed, by root neither.
    _ = try StoreFile.open(store.store.path + "/" + bad, O_WRONLY | O_CREAT)
  }

  @Test func aGuestIsFoundByItsName() throws {
    #expect(try store.store.find("web") == store.folder)
    #expect(try store.store.find(uuid) == store.folder)
  }

  @Test func aNameThatIsNowhereMayBeInTheUnreadableOne() throws {
    #expect(throws: error) { try store.store.find("db") }
    #expect(throws: StoreError.system(operation: "open", path: badPath, errno: ENOTDIR)) { try store.store.find(bad) }
  }

  @Test func whatIsReadOfAllIsReadOfTheRest() throws {
    let survey = try store.store.listable()
    #expect(survey.values == [store.folder])
    #expect(survey.unreadable == [UnreadableFolder(uuid: bad, path: badPath, error: error)])
    #expect(try store.store.guests().map(\.name) == ["web"])
    #expect(try store.store.namesakes(of: "web", besides: "another") == [store.folder])
    #expect(try store.store.diskBytes() == store.folder.diskBytes())
  }

  @Test func aFolderThatGoesMeanwhileIsNoTrouble() throws {
    let survey = try store.store.survey { folder throws(StoreError) in
      if folder.uuid == bad {
        unlink(folder.path)
        throw StoreError.system(operation: "list", path: folder.path, errno: ENOENT)
      }
      return folder.uuid
    }
    #expect(survey.values == [uuid] && survey.unreadable == [])
  }

  @Test(arguments: [(EIO, "check the disk"), (EUCLEAN, "check the file system")])
  func advice(number: Int32, advice: String) {
    #expect(StoreError.system(operation: "list", path: "/s", errno: number).description.contains(advice))
  }

  // MARK: All of one folder

  @Test func oneListingTellsAll() throws {
    let base = try #require(try store.folder.base())
    try store.publish(Image(pages: [2: Random(4).fixedPage()]), epoch: 2, base: base)
    try store.publish(Image(pages: [3: Random(5).fixedPage()]), epoch: 3, base: store.folder.base())
    try store.folder.setMarks(EpochMarks(pinned: true), of: 2)
    _ = try store.folder.remove(epochs: [1])
    _ = try StoreFile.open(store.path("00000004.epoch.partial"), O_WRONLY | O_CREAT)
    let content = try store.folder.content()
    #expect(try content.overview.epochs == store.folder.overview().epochs)
    #expect(content.overview.epochs.map(\.epoch) == [2, 3] && content.overview.isPinned(2))
    #expect(try content.bytes == store.folder.diskBytes())
    // The file of epoch 1 holds what the others need.
    #expect(content.unpublished == ["00000004.epoch.partial"])
    #expect(try store.folder.discardUnpublished() == content.unpublished)
    #expect(try store.folder.content().unpublished == [])
    // Whom a manifest that cannot be read needs is not known.
    try Tamper(path: store.path("00000003.json")).write([0], at: 40)
    unlink(store.path("00000002.json"))
    #expect(try store.folder.content().unpublished == ["00000002.marks"])
  }
}
