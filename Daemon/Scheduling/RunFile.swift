import EpochStore
import FoundationEssentials

/// What came of all guests' runs: `schedule-runs.json` in the store's folder, so that a starting service knows what it missed.
/// Written by the service alone.
public struct RunFile: Sendable {
  private static let format = 1
  public let path: String

  /// - Parameter store: path of the store's folder.
  public init(store: String) { path = store + "/schedule-runs.json" }

  /// By guest; none when there is no file.
  ///
  /// - Throws: `badFile`. Nothing is lost but counts and what was missed: the caller goes on without.
  public func read() throws -> [RunRecord] {
    guard let bytes = try SmallFile.read(path, limit: 16 << 20) else { return [] }
    do {
      let content = try JSONDecoder().decode(Content.self, from: Data(bytes))
      guard content.format == Self.format else {
        throw ScheduleError.otherFormat(path: path, version: content.format)
      }
      return content.guests
    } catch {
      throw ScheduleError(error, in: path)
    }
  }

  public func write(_ records: [RunRecord]) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let content = Content(format: Self.format, guests: records.sorted { $0.guest < $1.guest })
    try SmallFile.replace(path, with: Array(try encoder.encode(content)) + Array("\n".utf8))
  }

  private struct Content: Codable {
    let format: Int
    let guests: [RunRecord]
  }
}
