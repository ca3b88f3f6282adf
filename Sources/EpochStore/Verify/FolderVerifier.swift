/// Verifies epochs of one guest, one after the other, and keeps the verdicts. What it learnt of a file serves all epochs
/// that share it: verifying all of a guest's epochs reads each frame once.
///
/// The caller holds the folder's shared lock around each call and may let go of it between them, so that a
/// long verification does not keep takes away.
public final class FolderVerifier {
  private let folder: GuestFolder
  private let method: VerifyMethod
  private let threads: Int
  private var random: any RandomNumberGenerator
  private var known = KnownFrames()
  /// Epochs whose files may have the damage that was found.
  private var suspects: Set<Int> = []
  private var damaged: Set<Int> = []
  /// Damage that other epochs were looked at for.
  private var seen: Set<EpochVerdict.Damage> = []
  /// Epochs that turned out to have a part in others' damage, and were not verified since.
  private var sharing: [Int: Outcome] = [:]

  /// One epoch's outcome.
  public struct Outcome: Sendable {
    /// What holds now: what was found, or older damage that this look cannot clear.
    public let verdict: EpochVerdict
    /// Why the verdict could not be kept; nil when it was.
    public let unkept: StoreError?
  }

  /// - Parameters:
  ///   - threads: how many read and check, 1...64.
  ///   - random: draws the frames of a subset.
  public init(
    _ folder: GuestFolder, method: VerifyMethod, threads: Int = 1,
    random: any RandomNumberGenerator = SystemRandomNumberGenerator()
  ) {
    self.folder = folder
    self.method = method
    self.threads = threads
    self.random = random
  }

  /// Verifies an epoch; damage is an outcome, not an error.
  ///
  /// - Parameters:
  ///   - progress: gets bytes read and bytes to read, as they grow.
  ///   - shouldStop: asked often, from any thread.
  /// - Throws: what kept it from being verified, such as `notFound`, another format or a lack of permission; `stopped`, and what was
  ///   known of the epoch still holds.
  public func verify(
    _ epoch: Int, progress: ((_ done: Int, _ total: Int) -> Void)? = nil, shouldStop: @Sendable () -> Bool = { false }
  ) throws(StoreError) -> Outcome {
    let findings = try examine(epoch, by: method, progress: progress, shouldStop: shouldStop)
    let outcome = try keep(findings, epoch)
    sharing[epoch] = nil
    // Now, for it may be the last call: the next take must not build on an epoch that shares the damage.
    if !findings.damage.allSatisfy(seen.contains) {
      seen.formUnion(findings.damage)
      try? markSharing()
    }
    return outcome
  }

  /// Looks whether other epochs, verified or not, have a part in the damage that was found, and marks them too. Call it
  /// last; returns those that were not known before.
  public func finish() throws(StoreError) -> [Outcome] {
    try markSharing()
    return sharing.values.sorted { $0.verdict.epoch < $1.verdict.epoch }
  }

  /// The same for damage that somebody else found.
  func finish(with findings: Findings) throws(StoreError) -> [Outcome] {
    for frame in findings.frames {
      known.add(frame)
      suspects.insert(Int(frame.entry.epoch))
    }
    return try finish()
  }

  private func markSharing() throws(StoreError) {
    if suspects.isEmpty { return }
    for manifest in try folder.epochs().epochs where !damaged.contains(manifest.epoch) {
      guard suspects.contains(manifest.epoch) || !suspects.isDisjoint(with: manifest.needs) else { continue }
      let findings = try examine(manifest.epoch, by: .quick, progress: nil, shouldStop: { false })
      if findings.count > 0 { sharing[manifest.epoch] = try keep(findings, manifest.epoch) }
    }
  }

  private func examine(
    _ epoch: Int, by method: VerifyMethod, progress: ((Int, Int) -> Void)?, shouldStop: @Sendable () -> Bool
  ) throws(StoreError) -> Findings {
    var needs: [Int] = []
    var findings = Findings()
    do {
      needs = try folder.manifest(epoch).needs
      findings = try folder.open(epoch: epoch).examine(
        method, threads: threads, known: &known, random: &random, progress: progress, shouldStop: shouldStop)
    } catch {
      guard error.isDamage else { throw error }
      findings.add(error)
    }
    guard findings.count > 0 else { return findings }
    for frame in findings.frames { known.add(frame) }
    damaged.insert(epoch)
    suspects.formUnion(needs + [epoch])
    return findings
  }

  private func keep(_ findings: Findings, _ epoch: Int) throws(StoreError) -> Outcome {
    let time = EpochTime.now
    do { return Outcome(verdict: try folder.keep(findings, of: epoch, by: method, at: time), unkept: nil) } catch {
      let verdict = EpochVerdict(
        epoch: epoch, time: time, method: method, damage: findings.damage, damageCount: findings.count, fullTime: nil)
      return Outcome(verdict: verdict, unkept: error)
    }
  }
}
