"""Events as packets of ROS messages, in any of the three containers."""
