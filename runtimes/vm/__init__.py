"""KVM and TCG virtual machines through libvirt."""
