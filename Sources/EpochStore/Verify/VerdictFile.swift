import FoundationEssentials
import Glibc

extension GuestFolder {
  /// What the last verification found of an epoch; nil when there was none. A file that cannot be read or trusted counts as
  /// damage: it may have said so.
  public func verdict(_ epoch: Int) throws(StoreError) -> EpochVerdict? {
    let path = verdictPath(epoch)
    do throws(StoreError) {
      let file = try StoreFile.open(path, O_RDONLY)
      let size = try file.regularSize()
      guard size <= ManifestFile.sizeLimit else { throw .damaged(path: path, what: "it is larger than 1 MiB") }
      let json = try ManifestFile.unseal(try file.read(count: Int(size), at: 0), path: path)
      guard let verdict = try? JSONDecoder().decode(EpochVerdict.self, from: json), verdict.epoch == epoch else {
        throw .damaged(path: path, what: "it is no verdict on epoch \(epoch)")
      }
      return verdict
    } catch {
      if case .system(_, _, ENOENT) = error { return nil }
      guard error.isDamage else { throw error }
      return EpochVerdict(
        epoch: epoch, time: EpochTime(milliseconds: 0), method: .quick, damage: [.init(error)], damageCount: 1,
        fullTime: nil)
    }
  }

  /// The newest epoch that can be read and is not known to be damaged: the only one to build on.
  public func newestSoundEpoch() throws(StoreError) -> Int? {
    let numbers = try names().filter { $0.suffix == .manifest }.map(\.epoch)
    for epoch in numbers.sorted(by: >) where try verdict(epoch)?.isDamaged != true && isReadable(epoch) {
      return epoch
    }
    return nil
  }

  private func isReadable(_ epoch: Int) -> Bool { (try? manifest(epoch)) != nil }

  /// Notes what was found, beside what must not be forgotten of older verdicts, and returns what now holds. The caller
  /// holds the shared lock.
  func keep(
    _ findings: Findings, of epoch: Int, by method: VerifyMethod, at time: EpochTime = .now
  ) throws(StoreError) -> EpochVerdict {
    // Several may verify at a time; each reads the last one's verdict and replaces it whole.
    let turn = try StoreFile.open(path, O_RDONLY | O_DIRECTORY)
    while flock(turn.descriptor, LOCK_EX) != 0 { if errno != EINTR { throw turn.failed("lock", errno) } }
    let old = try verdict(epoch)
    let isSound = findings.count == 0
    if isSound, method != .full, let old, old.isDamaged { return old }
    let new = EpochVerdict(
      epoch: epoch, time: time, method: method, damage: findings.damage, damageCount: findings.count,
      fullTime: isSound && method == .full ? time : old?.fullTime)
    try publish(bytes: ManifestFile.sealed(new, name: "verdict on epoch \(epoch)"), as: verdictPath(epoch))
    return new
  }

  private func verdictPath(_ epoch: Int) -> String { path + "/" + EpochName.verdict(epoch) }
}
