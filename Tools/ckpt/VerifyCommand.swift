import ArgumentParser
import Checkpoint
import ControlAPI
import EpochStore
import Synchronization

struct VerifyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify", abstract: "Check that epochs are what was written, and remember the outcome.",
    discussion: """
      Looks at manifest, trailer, index and sizes; --full reads everything, frames that epochs share once. A damaged epoch is told \
      with file and place, and so is every other one that uses that place. No take builds on them until a full verification, after \
      the file was put back, finds them sound: the next one builds on the newest sound epoch, or stores everything. Needs no Xen. \
      Ctrl-C ends it; what was found until then is kept.
      Exit status 3 when some epochs are sound and some are not, or a guest's folder cannot be read; 1 when none is.
      """)

  @Argument(help: "Name or uuid of a guest; all guests when left out.", completion: .guests) var vm: String?
  @Argument(help: EpochArgument.help, transform: EpochArgument.parse) var epoch: EpochReference?
  @Flag(help: "Read and check every frame and record.") var full = false
  @Option(help: ArgumentHelp("Check this share of the frames, others each time, like 5%.", valueName: "share"))
  var subset: Share?
  @OptionGroup var common: CommonOptions

  func validate() throws {
    if full, subset != nil { throw ValidationError("--full and --subset exclude each other") }
  }

  func run() throws {
    let request = VerifyRequest(guest: vm, epoch: epoch, full: full, subset: subset?.value)
    let told = Mutex<[VerifiedAnswer]>([])
    let call = Call(report: { event in
      switch event {
      case .reading(let guest, let epoch, let done, let total):
        Terminal.status("\(guest) epoch \(epoch): \(total == 0 ? 100 : done * 100 / total) %")
      case .verified(let epoch):
        Self.tell(epoch)
        told.withLock { $0.append(epoch) }
      default: break
      }
    })
    var epochs: [VerifiedAnswer]
    var failure: (any Error)?
    do { epochs = try common.offlineService().verify(request, call) } catch {
      // Of all guests one that cannot be read hides no other.
      epochs = Self.lastOfEach(told.withLock(\.self))
      guard vm == nil, !epochs.isEmpty, ExitStatus(error) == .failed else { throw error }
      failure = error
    }
    Terminal.status("")
    let sound = epochs.count(where: \.isSound)
    if common.json {
      try Terminal.printJSON(epochs)
    } else {
      Terminal.say(
        "\(epochs.count) epoch\(epochs.count == 1 ? "" : "s") verified (\(request.method.name)), \(sound) sound, "
          + "\(epochs.count - sound) not")
    }
    if let failure { Terminal.error("ckpt: \(failure)") }
    if failure != nil || sound < epochs.count { throw sound == 0 ? ExitStatus.failed : ExitStatus.partlyDone }
  }

  /// Epochs that turn out to share the damage of others are told of once more.
  private static func lastOfEach(_ told: [VerifiedAnswer]) -> [VerifiedAnswer] {
    told.enumerated().filter { index, one in
      !told[(index + 1)...].contains { $0.uuid == one.uuid && $0.epoch == one.epoch }
    }.map(\.element)
  }

  /// Damage is an error's line each; what is sound shows only in the count.
  private static func tell(_ epoch: VerifiedAnswer) {
    Terminal.status("")
    let name = "ckpt: \(epoch.guest) epoch \(epoch.epoch)"
    guard let verdict = epoch.verdict else {
      return Terminal.error("\(name) was not verified: \(epoch.error ?? "")")
    }
    if verdict.isDamaged {
      Terminal.error(
        "\(name) is damaged: \(verdict.damageText); no take builds on it; restore another epoch, or put the file "
          + "back and run `ckpt verify \(epoch.guest) \(epoch.epoch) --full`")
    }
    if let error = epoch.error { Terminal.error("\(name): the outcome could not be kept: \(error)") }
  }
}

/// A share of a whole, written `5%`.
struct Share: ExpressibleByArgument {
  let value: Double

  init?(argument: String) {
    guard argument.hasSuffix("%"), let percent = Double(argument.dropLast()), percent > 0, percent < 100 else {
      return nil
    }
    value = percent / 100
  }
}

extension EpochVerdict {
  /// The first damage in words, and how many more places there are.
  var damageText: String {
    guard let first = damage.first else { return "" }
    let place = first.file.isEmpty ? first.what : "\(first.file): \(first.what)"
    return damageCount > 1 ? "\(place) (and \(damageCount - 1) more)" : place
  }

  /// `damaged (subset, 2026-11-20T12:00:00.000Z), last sound in full 2026-11-13T12:00:00.000Z`.
  var line: String {
    let last = fullTime.map { $0 == time ? "" : ", last sound in full \($0)" } ?? ""
    return "\(isDamaged ? "damaged" : "sound") (\(method.name), \(time))\(last)"
  }

  /// `full`, `damaged`.
  var summary: String { isDamaged ? "damaged" : method.name }
}

/// A manifest with its verdict and marks beside, as `list` and `show` print it in JSON.
struct ManifestWithVerdict: Encodable {
  let manifest: EpochManifest
  let verdict: EpochVerdict?
  /// nil when they cannot be read.
  let marks: EpochMarks?

  enum CodingKeys: String, CodingKey { case verified, marks }

  func encode(to encoder: any Encoder) throws {
    try manifest.encode(to: encoder)
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encodeIfPresent(verdict, forKey: .verified)
    try container.encodeIfPresent(marks, forKey: .marks)
  }
}
