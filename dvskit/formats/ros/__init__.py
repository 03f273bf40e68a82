"""Recordings of ROS: bags of ROS 1, sqlite3 and MCAP files of ROS 2, with one way of reading.

Messages: event_camera_msgs/EventPacket (github.com/ros-event-camera/event_camera_msgs; encodings
as github.com/ros-event-camera/event_camera_codecs) and dvs_msgs/EventArray
(github.com/uzh-rpg/rpg_dvs_ros) with its relatives.
"""
