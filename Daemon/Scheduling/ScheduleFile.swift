import EpochStore
import FoundationEssentials
import Glibc

/// The schedules of a store: `schedules.json` in its folder, which people may read and mend.
public struct ScheduleFile: Sendable {
  static let format = 1

  public let path: String
  private let folder: String

  /// - Parameter store: path of the store's folder.
  public init(store: String) {
    (folder, path) = (store, store + "/schedules.json")
  }

  /// The file's identity and time: differs after every edit.
  public struct Stamp: Hashable, Sendable {
    let inode, seconds, nanoseconds, size: Int
  }

  /// nil when there is no file.
  public var stamp: Stamp? {
    var status = stat()
    guard lstat(path, &status) == 0 else { return nil }
    return Stamp(
      inode: Int(bitPattern: UInt(status.st_ino)), seconds: status.st_mtim.tv_sec, nanoseconds: status.st_mtim.tv_nsec,
      size: Int(status.st_size))
  }

  /// All schedules, by guest; none when there is no file.
  ///
  /// - Throws: `badFile` for what is not exactly a file of schedules, with the place; `StoreError` when it cannot be read.
  public func read() throws -> [Schedule] {
    guard let bytes = try SmallFile.read(path) else { return [] }
    do {
      let decoder = JSONDecoder()
      let version = try decoder.decode(Version.self, from: Data(bytes)).format
      guard version == Self.format else { throw ScheduleError.otherFormat(path: path, version: version) }
      let schedules = try decoder.decode(Content.self, from: Data(bytes)).schedules.sorted { $0.guest < $1.guest }
      if let twice = zip(schedules, schedules.dropFirst()).first(where: { $0.guest == $1.guest })?.0.guest {
        throw ScheduleError.badFile(path: path, place: "schedules", what: "'\(twice)' has two")
      }
      return schedules
    } catch {
      throw ScheduleError(error, in: path)
    }
  }

  /// Those schedules of a file with a fault that have none themselves: better than nothing for a service that knows no others. Of two
  /// for a guest, neither; none of what is no JSON.
  public func readable() -> [Schedule] {
    guard let bytes = try? SmallFile.read(path),
      let content = try? JSONDecoder().decode(Attempts.self, from: Data(bytes)), content.format == Self.format
    else { return [] }
    let byGuest = Dictionary(grouping: content.schedules.compactMap(\.schedule), by: \.guest)
    return byGuest.values.compactMap { $0.count == 1 ? $0.first : nil }.sorted { $0.guest < $1.guest }
  }

  /// Whether a guest has a schedule, as far as the file can be read.
  public func has(_ guest: String) -> Bool { ((try? read()) ?? readable()).contains { $0.guest == guest } }

  /// Changes the schedules in one step, alone with them: who reads sees the old ones or the new ones. A file that cannot be read is
  /// never written over.
  ///
  /// - Returns: what `change` does.
  public func edit<Value>(_ change: (inout [Schedule]) throws -> Value) throws -> Value {
    try SmallFile.inTurn(folder: folder) {
      let old = try read()
      var new = old
      let value = try change(&new)
      if new != old { try write(new.sorted { $0.guest < $1.guest }) }
      return value
    }
  }

  private func write(_ schedules: [Schedule]) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let data = try encoder.encode(Content(format: Self.format, schedules: schedules))
    try SmallFile.replace(path, with: Array(data) + Array("\n".utf8))
  }

  /// Only this is read before the version is known: the rest may have another shape then.
  private struct Version: Decodable { let format: Int }

  /// A file of which not all can be read.
  private struct Attempts: Decodable {
    struct Attempt: Decodable {
      let schedule: Schedule?

      init(from decoder: any Decoder) throws { schedule = try? Schedule(from: decoder) }
    }

    let format: Int
    let schedules: [Attempt]
  }

  private struct Content: Codable {
    let format: Int
    let schedules: [Schedule]

    enum CodingKeys: String, CodingKey, CaseIterable { case format, schedules }

    init(format: Int, schedules: [Schedule]) { (self.format, self.schedules) = (format, schedules) }

    init(from decoder: any Decoder) throws {
      let container = try decoder.strict(CodingKeys.self)
      format = try container.decode(Int.self, forKey: .format)
      schedules = try container.decode([Schedule].self, forKey: .schedules)
    }
  }
}

extension [Schedule] {
  /// Where the schedule of a guest is.
  ///
  /// - Throws: `noSchedule`.
  public func index(of guest: String) throws(ScheduleError) -> Int {
    guard let index = firstIndex(where: { $0.guest == guest }) else {
      throw .noSchedule(guest: guest, known: map(\.guest))
    }
    return index
  }
}
