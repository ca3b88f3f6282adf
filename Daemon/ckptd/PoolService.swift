import Checkpoint
import Dispatch
import Logging
import ServiceLifecycle

/// Has the store's pools looked at: when the kernel tells of one, and every ten minutes, for of data that run low it tells once
/// per table only, and of a pool's clock, or one that was made, never.
struct PoolService: Service {
  /// Looks, on a thread of its own, and ends early when it is told to. Returns the devices that are to be watched.
  let look: @Sendable (TakeCancellation) -> [String]
  /// Watches devices for as long as somebody has what it returns.
  let watch: @Sendable ([String], @escaping @Sendable (String) -> Void) throws -> any Sendable
  var interval = Duration.seconds(600)
  let logger: Logger

  func run() async throws {
    let (wakes, wake) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    let cancellation = TakeCancellation()
    await withTaskCancellationOrGracefulShutdownHandler {
      await withTaskGroup(of: Void.self) { tasks in
        tasks.addTask { await knock(wake) }
        await answer(wakes, wake, cancellation)
        tasks.cancelAll()
      }
    } onCancelOrGracefulShutdown: {
      cancellation.cancel()
      wake.finish()
    }
  }

  private func knock(_ wake: AsyncStream<Void>.Continuation) async {
    while !Task.isCancelled {
      wake.yield()
      try? await Task.sleep(for: interval)
    }
  }

  private func answer(
    _ wakes: AsyncStream<Void>, _ wake: AsyncStream<Void>.Continuation, _ cancellation: TakeCancellation
  ) async {
    var watched: (devices: [String], watch: (any Sendable)?) = ([], nil)
    var problem = ""
    for await _ in wakes where !cancellation.isCancelled {
      let devices = await lookOnAThread(cancellation)
      guard devices != watched.devices || watched.watch == nil, !devices.isEmpty, !cancellation.isCancelled else {
        continue
      }
      do {
        watched = (devices, try watch(devices) { _ in wake.yield() })
        // Something may have happened since the look.
        wake.yield()
      } catch {
        if problem != "\(error)" { logger.error("events of pools are not heard, only now and then seen: \(error)") }
        problem = "\(error)"
      }
    }
  }

  private func lookOnAThread(_ cancellation: TakeCancellation) async -> [String] {
    await withCheckedContinuation { done in
      DispatchQueue(label: "pools").async { done.resume(returning: look(cancellation)) }
    }
  }
}

extension PoolService {
  /// - Parameters:
  ///   - first: what else is to be looked at as often.
  ///   - options: what is configured for all guests, now.
  init(
    _ keeper: PoolKeeper, first: @escaping @Sendable () -> Void = {}, options: @escaping @Sendable () -> TakeOptions,
    logger: Logger
  ) {
    self.init(
      look: { cancellation in
        // Before a wait for somebody who has a pool.
        first()
        return keeper.look(options(), cancellation) { event in
          switch event {
          case .grown(let text): logger.notice("\(text)")
          case .warning(let text): logger.warning("\(text)")
          }
        }
      }, watch: { try keeper.watch($0, changed: $1) }, logger: logger)
  }
}
