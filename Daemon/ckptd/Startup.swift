import Checkpoint
import ControlAPI
import Dispatch
import Glibc
import Logging
import Xen

/// What a starting daemon does before it answers anybody: it ends what an earlier one, or a killed take, has left, and says what
/// it will not be able to do. Nothing here ends the daemon: what needs no Xen works without it.
struct Startup: Sendable {
  let service: any ControlService
  let logger: Logger

  /// Devices first, then guests, then pools and store.
  func recover() async {
    await withCheckedContinuation { done in
      DispatchQueue(label: "recover").async {
        recoverNow()
        done.resume()
      }
    }
  }

  private func recoverNow() {
    do { tell(try recovered()) } catch XenError.noXen {
      logger.warning(
        "no Xen here: /dev/xen/privcmd is missing; no guest can be taken or restored; epochs can be verified, marked and pruned"
      )
      settle()
    } catch {
      logger.error("not recovered: \(error)")
      if error is XenError { settle() }
    }
  }

  /// Pools and store, which need no Xen.
  private func settle() {
    do { tell(try service.recover(RecoverRequest(storeOnly: true), Call())) } catch {
      logger.error("not settled: \(error)")
    }
  }

  private func tell(_ recovery: RecoverAnswer) {
    for line in recovery.lines { logger.notice("recovered: \(line)") }
    for failure in recovery.failures { logger.error("not recovered: \(failure)") }
    for line in recovery.open { logger.error("\(line)") }
    if recovery.isEmpty { logger.info("nothing to recover") }
  }

  /// A take or a restore of another process may hold a guest just now: it will soon have ended.
  private func recovered() throws -> RecoverAnswer {
    let end = ContinuousClock.now + .seconds(75)
    while true {
      do { return try service.recover(RecoverRequest(), Call()) } catch CheckpointError.takeRuns where .now < end {
        usleep(500_000)
      }
    }
  }

  /// What is wrong with the store and its pools, a line each.
  static func problems(_ engine: Engine) -> [String] {
    let store = engine.storePath
    guard access(store, F_OK) == 0 else { return ["no store at \(store) yet; the first take makes it"] }
    var problems: [String] = []
    if access(store, W_OK) != 0 {
      problems.append(
        "the store \(store) cannot be written: \(String(cString: strerror(errno))); no epoch can be taken, marked or pruned"
      )
    }
    // Device-mapper is asked only where there are pools: a trial of the store alone needs none.
    guard access(store + "/pools", F_OK) == 0 else { return problems }
    do {
      for pool in try engine.pools().list() {
        if let problem = pool.problem { problems.append("pool \(pool.name): \(problem)") }
      }
    } catch { problems.append("the pools cannot be used: \(error)") }
    return problems
  }
}
