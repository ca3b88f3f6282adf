import EpochStore

/// Other guests of a store that are called like one. Most often they are that guest: `xl create` gives it a new uuid each time where its
/// configuration has none, and with that another folder. The name then means the folder with the newest epoch.
struct Namesakes: Equatable, CustomStringConvertible {
  let name: String
  /// Of the others, never empty, that with the newest epoch first.
  let uuids: [String]

  /// nil when there are none.
  init?(of name: String, uuids: [String]) {
    guard !uuids.isEmpty else { return nil }
    (self.name, self.uuids) = (name, uuids)
  }

  /// As the store that the folder is in knows them; nil when it cannot be read, too.
  init?(of name: String, besides folder: GuestFolder) {
    let others = try? EpochStore(path: folder.storePath).namesakes(of: name, besides: folder.uuid)
    self.init(of: name, uuids: others?.map(\.uuid) ?? [])
  }

  /// Whether a guest is one of them.
  static func have(_ uuid: String, _ name: String, besides folder: GuestFolder) -> Bool {
    Namesakes(of: name, besides: folder)?.uuids.contains(uuid) == true
  }

  var description: String {
    "the store has epochs of '\(name)' under \(uuids.count == 1 ? "another uuid" : "other uuids") as well: "
      + uuids.prefix(8).joined(separator: ", ")
  }

  /// What to do about a guest that runs by the name.
  func advice(to uuid: String) -> String {
    "write into its xl configuration uuid = \"\(uuid)\", or uuid = \"\(uuids[0])\" to go on with those from its next "
      + "start: without such a line each xl create makes a new one; ckpt list \(uuids[0]) shows them, "
      + "ckpt rename \(uuids[0]) NAME sets them apart"
  }
}

extension Engine {
  /// - Returns: ``CheckpointError/noSuchEpoch(guest:_:)``, which names those who are called like the guest as well.
  func noSuchEpoch(_ unknown: UnknownEpoch, in folder: GuestFolder, of guest: String) -> CheckpointError {
    let others = (try? folder.overview().name).flatMap { Namesakes(of: $0, besides: folder) }
    let hint = others.map { "; \($0); for those say the uuid in place of the name" } ?? ""
    return .noSuchEpoch(guest: guest, unknown.text + hint)
  }
}
