import Foundation
import Testing

@testable import Checkpoint

@Suite("The manual page of the configuration file")
struct ManualTests {
  private static let checkout = URL(filePath: #filePath).appending(path: "../../..").standardized

  @Test("explains each key that the program knows, and no other")
  func keys() throws {
    let page = try String(
      contentsOf: Self.checkout.appending(path: "Tools/packaging/man/ckpt.conf.5"), encoding: .utf8)
    let explained = page.split(separator: "\n").filter { $0.hasPrefix(".It Cm ") }
      .flatMap { $0.dropFirst(".It Cm ".count).split(separator: " , ") }
    #expect(explained.map(String.init).sorted() == Configuration.keys.sorted())
  }

  @Test("names each moment at which a program of the configuration runs")
  func moments() throws {
    let page = try String(
      contentsOf: Self.checkout.appending(path: "Tools/packaging/man/ckpt.conf.5"), encoding: .utf8)
    let end = try #require(page.components(separatedBy: ".It Ev CKPT_HOOK\n").last)
    let told = try #require(end.components(separatedBy: ".It").first)
    for key in Configuration.keys where key == "notify-command" || key.hasPrefix("hook-") {
      let word = key == "notify-command" ? "notify" : String(key.dropFirst("hook-".count))
      guard Hook(rawValue: word) != nil else { continue }
      #expect(told.contains(word), "\(word)")
    }
  }

  @Test("agrees with the file that is installed: uncommented, it sets what is the default anyway")
  func installedFile() throws {
    let file = try String(contentsOf: Self.checkout.appending(path: "Daemon/ckpt.conf"), encoding: .utf8)
    let settings = file.split(separator: "\n").compactMap { line -> (key: String, line: String)? in
      guard line.hasPrefix("#"), let equals = line.range(of: " = ") else { return nil }
      let key = String(line[line.index(after: line.startIndex)..<equals.lowerBound])
      return key.contains(" ") ? nil : (key, String(line.dropFirst()))
    }
    #expect(settings.count > 20)
    for (key, _) in settings { #expect(Configuration.keys.contains(key), "\(key) is in Daemon/ckpt.conf") }
    // What is off when left out is shown by an example; all else stands there with its default.
    let examples = ["limit-rate", "quota", "store-quota", "host-reserve", "pool-watermark"]
    let defaults = settings.filter {
      !examples.contains($0.key) && !$0.key.hasPrefix("keep-") && !$0.line.contains(" = /")
    }
    // The last lines are a guest's section; as general settings they would not be the default.
    let general = defaults.prefix { $0.line != "tracking = per-take" }.map(\.line).joined(separator: "\n")
    #expect(try Configuration(text: general, path: "ckpt.conf").options(for: "any") == TakeOptions())
  }
}
