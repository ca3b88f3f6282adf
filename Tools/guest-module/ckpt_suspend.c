// SPDX-License-Identifier: GPL-2.0-only
/*
 * ckpt_suspend: gives a Linux guest on Xen a suspend event channel.
 *
 * Xen's toolstacks (ckpt, xl) ask a guest to suspend through an event channel
 * when the guest names one in device/suspend/event-channel, else by xenstore.
 * Mainline Linux names none. This module makes one, names it there, and starts
 * the kernel's own suspend when dom0 notifies it.
 *
 * A module that calls GPL-only symbols must be GPL itself: this folder is
 * GPL-2.0-only, unlike the rest of the ckpt repository, which is Apache-2.0.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/err.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <asm/xen/hypercall.h>
#include <xen/events.h>
#include <xen/interface/event_channel.h>
#include <xen/xen-ops.h>
#include <xen/xen.h>
#include <xen/xenbus.h>

#define TOOLSTACK_DOMAIN 0

/*
 * Changed by init and exit, and by the xenwatch thread while the watches are
 * registered: never by two at a time.
 */
static struct {
	int irq; /* 0: there is no channel */
	char port[12]; /* as it stands in xenstore */
} channel;

/*
 * Set from our request until we were resumed or the kernel gave the suspend
 * up. A notification in that time asks for the suspend that is already under
 * way; a request made of it would suspend the guest once more, with nobody
 * there to resume it.
 */
static bool asked;
static DEFINE_MUTEX(asked_lock); /* a request and its mark are one step */

/*
 * The kernel's suspend routine is not exported. Its xenstore watch is the way
 * in, and a guest may write its own control/shutdown.
 */
static int request_suspend(void)
{
	struct xenbus_transaction transaction;
	unsigned int length;
	char *pending;
	int error;

	do {
		error = xenbus_transaction_start(&transaction);
		if (error)
			return error;
		/* An order to power off must not be replaced by ours. */
		pending = xenbus_read(transaction, "control", "shutdown", &length);
		if (!IS_ERR(pending)) {
			kfree(pending);
			if (length) {
				xenbus_transaction_end(transaction, 1);
				return -EBUSY;
			}
		}
		error = xenbus_write(transaction, "control", "shutdown", "suspend");
		if (error) {
			xenbus_transaction_end(transaction, 1);
			return error;
		}
		error = xenbus_transaction_end(transaction, 0);
	} while (error == -EAGAIN);
	return error;
}

static void ask(struct work_struct *unused)
{
	int error;

	mutex_lock(&asked_lock);
	if (!asked) {
		WRITE_ONCE(asked, true);
		error = request_suspend();
		if (error) {
			pr_warn("dom0 asked for a suspend; not started: error %d\n", error);
			WRITE_ONCE(asked, false);
		}
	}
	mutex_unlock(&asked_lock);
}
static DECLARE_WORK(ask_work, ask);

static irqreturn_t notified(int irq, void *unused)
{
	if (!READ_ONCE(asked))
		schedule_work(&ask_work);
	return IRQ_HANDLED;
}

/*
 * What dom0 notified while we were suspended was handled when the CPUs let
 * interrupts in again, just before this; IRQF_NO_SUSPEND sees to that. What
 * comes from now on is a new request.
 */
static int resumed(struct notifier_block *self, unsigned long action, void *data)
{
	WRITE_ONCE(asked, false);
	return NOTIFY_DONE;
}

static struct notifier_block resume_notifier = { .notifier_call = resumed };

/*
 * The kernel takes a request and suspends in the xenwatch thread, the one that
 * calls us. So when we find the request taken, its suspend is over, also one
 * that was given up, of which we hear nothing else.
 */
static void shutdown_changed(struct xenbus_watch *watch, const char *path,
			     const char *token)
{
	char *pending;

	mutex_lock(&asked_lock);
	pending = xenbus_read(XBT_NIL, "control", "shutdown", NULL);
	if (IS_ERR(pending) || strcmp(pending, "suspend"))
		WRITE_ONCE(asked, false);
	mutex_unlock(&asked_lock);
	if (!IS_ERR(pending))
		kfree(pending);
}

static void close_channel(void)
{
	if (channel.irq)
		unbind_from_irqhandler(channel.irq, &channel); /* closes the port */
	channel.irq = 0;
}

static int open_channel(void)
{
	struct evtchn_alloc_unbound unbound = {
		.dom = DOMID_SELF,
		.remote_dom = TOOLSTACK_DOMAIN,
	};
	struct evtchn_close unused;
	int error, irq;

	error = HYPERVISOR_event_channel_op(EVTCHNOP_alloc_unbound, &unbound);
	if (error) {
		pr_err("no event channel: error %d\n", error);
		return error;
	}
	irq = bind_evtchn_to_irqhandler(unbound.port, notified, IRQF_NO_SUSPEND, KBUILD_MODNAME, &channel);
	if (irq < 0) {
		pr_err("no interrupt for event channel %u: error %d\n", unbound.port, irq);
		unused.port = unbound.port;
		HYPERVISOR_event_channel_op(EVTCHNOP_close, &unused);
		return irq;
	}
	channel.irq = irq;
	snprintf(channel.port, sizeof(channel.port), "%u", unbound.port);
	error = xenbus_write(XBT_NIL, "device/suspend", "event-channel", channel.port);
	if (error) {
		pr_err("cannot write device/suspend/event-channel: error %d; did the toolstack make it for this guest?\n",
		       error);
		close_channel();
		return error;
	}
	pr_info("suspend event channel is port %s\n", channel.port);
	return 0;
}

/*
 * In a new domain (restore, migration) the node is blank and our port does not
 * exist. All watches fire there, because the kernel sets them anew; after a
 * cancelled suspend, with the port still good, none does.
 */
static void channel_changed(struct xenbus_watch *watch, const char *path,
			    const char *token)
{
	char *port = xenbus_read(XBT_NIL, "device/suspend", "event-channel", NULL);
	bool is_ours = !IS_ERR(port) && channel.irq && !strcmp(port, channel.port);

	if (!IS_ERR(port))
		kfree(port);
	if (is_ours)
		return;
	close_channel();
	open_channel(); /* says itself what fails; the guest is then asked by xenstore */
}

static struct xenbus_watch shutdown_watch = {
	.node = "control/shutdown",
	.callback = shutdown_changed,
};

static struct xenbus_watch channel_watch = {
	.node = "device/suspend/event-channel",
	.callback = channel_changed,
};

/* Nobody can find the channel from here on, and none of our code runs. */
static void withdraw(void)
{
	xenbus_write(XBT_NIL, "device/suspend", "event-channel", "");
	close_channel();
	cancel_work_sync(&ask_work);
}

static int __init ckpt_suspend_init(void)
{
	int error;

	if (!xen_domain() || xen_initial_domain()) {
		pr_err("this is no guest of Xen\n");
		return -ENODEV;
	}
	error = open_channel();
	if (error)
		return error;
	xen_resume_notifier_register(&resume_notifier);
	error = register_xenbus_watch(&shutdown_watch);
	if (error)
		goto no_shutdown_watch;
	error = register_xenbus_watch(&channel_watch);
	if (error)
		goto no_channel_watch;
	return 0;

no_channel_watch:
	unregister_xenbus_watch(&shutdown_watch);
no_shutdown_watch:
	pr_err("cannot watch xenstore: error %d\n", error);
	xen_resume_notifier_unregister(&resume_notifier);
	withdraw();
	return error;
}

static void __exit ckpt_suspend_exit(void)
{
	/* First, so that the blank node does not make us fill it again. */
	unregister_xenbus_watch(&channel_watch);
	unregister_xenbus_watch(&shutdown_watch);
	xen_resume_notifier_unregister(&resume_notifier);
	withdraw();
}

module_init(ckpt_suspend_init);
module_exit(ckpt_suspend_exit);

MODULE_DESCRIPTION("Suspend event channel for Xen guests");
MODULE_LICENSE("GPL");
MODULE_VERSION("1.0");
