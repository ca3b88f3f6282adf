import EpochStore
import Xen

/// What an engine that stays remembers of one guest from one take to the next: the newest epoch's hashes, the debt, and where
/// the guest's memory is mapped.
///
/// A dirty bit that was read from Xen's log is owed until an epoch that holds the page is published. The debt itself lives
/// here; that there is one also stands in a note in xenstore, beside the domain, so that an engine that starts anew knows it.
public final class TakeMemory {
  var base: EpochBase?
  var debt = PageSet()
  /// The epoch, and its store, that the debt goes back to.
  var debtBase: TrackedBase?
  /// A page that is in the log for as long as nobody else takes from it; nil when there is none.
  var canary: UInt64?
  /// The running guest, with the mappings that a guest without a log of dirty pages needs in the pause.
  var image: GuestImage? { didSet { mappedDomain = image?.domain.id } }
  /// Names this object in the note.
  private(set) var token = TakeMemory.newToken
  let isResident: Bool
  /// The running domain whose memory is mapped here. Xen keeps a destroyed one as long as it is.
  public internal(set) var mappedDomain: UInt32? { didSet { lastDomain = mappedDomain ?? lastDomain } }
  /// The domain that was taken last: what is remembered serves nobody when that is gone.
  private(set) var lastDomain: UInt32?

  /// - Parameter isResident: it will be used for more than one take.
  public init(isResident: Bool = false) { self.isResident = isResident }

  /// Bits were lost: the debt is not all that is owed, and the note of it is no longer ours.
  func distrustDebt() { token = TakeMemory.newToken }

  private static var newToken: String { String(UInt64.random(in: 1...UInt64.max), radix: 16) }
}

/// An epoch that changes are counted from. A number may be used again for another epoch, by an import; a file's checksum is its own.
struct TrackedBase: Equatable {
  var epoch: Int
  /// As its manifest has it.
  var fileHash: String
  var folder: String
}

/// The note in xenstore: what Xen's log of dirty pages stands for. It goes with the domain, as the log does.
enum TrackingNote: Equatable {
  /// The log holds every page written since this epoch, at which Xen counted so many pages.
  case armed(base: TrackedBase, pages: UInt64, canary: UInt64?)
  /// A take has the log, and owes what it took out of it: the memory with this token, in this process.
  case owed(token: String, owner: ProcessIdentity)

  /// Names no memory: what was taken out of the log is not in any, or not yet.
  static let noToken = "-"

  init?(_ text: String) {
    let words = text.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: false).map(String.init)
    if words.count == 4, words[0] == "owed", let owner = ProcessIdentity("\(words[2]) \(words[3])") {
      self = .owed(token: words[1], owner: owner)
    } else if words.count == 6, words[0] == "armed", let epoch = Int(words[1]), let pages = UInt64(words[3]) {
      self = .armed(
        base: TrackedBase(epoch: epoch, fileHash: words[2], folder: words[5]), pages: pages, canary: UInt64(words[4]))
    } else {
      return nil
    }
  }

  var text: String {
    switch self {
    case .armed(let base, let pages, let canary):
      "armed \(base.epoch) \(base.fileHash) \(pages) \(canary.map(String.init) ?? "-") \(base.folder)"
    case .owed(let token, let owner): "owed \(token) \(owner.text)"
    }
  }

  /// The log is on for nobody: its process did not live to settle the debt.
  var isAbandoned: Bool {
    guard case .owed(_, let owner) = self else { return false }
    return !owner.isAlive
  }
}
